// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/flocker-project/flocker/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"flocker": func() { os.Exit(execute()) }})
}

// TestStories need no cluster.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands(), Setup: alone})
}

// TestClusterStories each have a control service of their own and two nodes whose agents report what they are told to.
func TestClusterStories(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control service for each story")
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/cluster", Cmds: commands(), Setup: func(env *testscript.Env) error {
		if err := alone(env); err != nil {
			return err
		}
		return startStage(t, env)
	}})
}

// alone keeps what the user of this machine has out of a story.
func alone(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv(controlVariable, "")
	env.Setenv(certsVariable, "")
	return nil
}

// commands of the stories.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "cancel": cancelMove}
}

// exits CODE COMMAND... runs a command that is to end with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, got := args[0], "0"
	err := ts.Exec(args[1], args[2:]...)
	if failed, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		got = strconv.Itoa(failed.ExitCode())
	}
	if got != want {
		ts.Fatalf("%s: exit code %s (%v); want %s", strings.Join(args[1:], " "), got, err, want)
	}
}

// cancelMove APPLICATION waits until the copy of an application has begun, and cancels its move.
func cancelMove(ts *testscript.TestScript, _ bool, args []string) {
	for range 300 {
		ts.Check(ts.Exec("flocker", "moves", "--json"))
		var all []api.MoveInfo
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &all))
		for _, m := range all {
			if slices.Contains(m.Applications, args[0]) && m.Progress != nil {
				ts.Check(ts.Exec("flocker", "moves", "cancel", short(string(m.ID))))
				return
			}
		}
	}
	ts.Fatalf("the copy of %s does not begin", args[0])
}
