// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestDriverStories run the sample of a storage driver as a program of its own, and the contract against it.
func TestDriverStories(t *testing.T) {
	if testing.Short() {
		t.Skip("makes loop devices")
	}
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	sample, err := filepath.Abs("../../docs/backends/sample-driver.py")
	if err != nil {
		t.Fatal(err)
	}
	all := commands()
	all["listening"] = listening
	testscript.Run(t, testscript.Params{Dir: "testdata/driver", Cmds: all, Setup: func(env *testscript.Env) error {
		env.Setenv("SAMPLE", sample)
		return alone(env)
	}})
}

// listening SOCKET... waits until a driver answers on each.
func listening(ts *testscript.TestScript, _ bool, sockets []string) {
	deadline := time.Now().Add(30 * time.Second)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for _, name := range sockets {
		for {
			conn, err := net.Dial("unix", ts.MkAbs(name)) //nolint:noctx // answers at once or not at all
			if err == nil {
				ts.Check(conn.Close())
				break
			}
			if time.Now().After(deadline) {
				ts.Fatalf("no driver listens: %v", err)
			}
			<-again.C
		}
	}
}
