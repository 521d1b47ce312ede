// SPDX-License-Identifier: Apache-2.0

package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
)

func itoa(n int) string { return strconv.Itoa(n) }

// relay stands between the engine and its client, and can be cut.
type relay struct {
	path string
	mu   sync.Mutex
	open []net.Conn
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	r := &relay{path: filepath.Join(t.TempDir(), "docker.sock")}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.Close()
		r.cut()
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := new(net.Dialer).Dial("unix", "/var/run/docker.sock")
			if err != nil {
				near.Close()
				continue
			}
			r.join(near, far)
		}
	}()
	return r
}

func (r *relay) join(near, far net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = append(r.open, near, far)
	for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			// Ends when either side is closed.
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
		}()
	}
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		c.Close()
	}
	r.open = nil
}

func TestEventsConnectAgain(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	c := config(t.TempDir())
	c.Host = "unix://" + r.path
	e := engineWith(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	events, err := e.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, ok := <-events; !ok {
			t.Fatal("no signal after a connection")
		}
		r.cut()
	}
	cancel()
	for range events { // until it is closed
	}
}

func TestAbandonedCommandIsKilled(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	start(t, e, a)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, _, err := e.Exec(ctx, a.Name, []string{"/probe", "ignore-term", "wait"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Exec() = %v; want DeadlineExceeded", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		if processes(t, inspect(t, container.NamePrefix+a.Name).ID) == 1 {
			return
		}
		<-tick.C
	}
	t.Error("the command still runs")
}

func processes(t *testing.T, id string) (n int) {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		text, err := os.ReadFile(group)
		if err == nil && bytes.Contains(text, []byte(id)) {
			n++
		}
	}
	return n
}

func TestStopOfAPausedContainer(t *testing.T) {
	t.Parallel()
	e := engine(t)
	a := application(t, e, "wait")
	create(t, e, a)
	start(t, e, a)
	if _, err := shared.api.ContainerPause(t.Context(), container.NamePrefix+a.Name, client.ContainerPauseOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(t.Context(), a.Name, "", 20*time.Second); err != nil {
		t.Fatalf("Stop() = %v", err)
	}
	if c, _ := found(t, e, container.NamePrefix+a.Name); c.ExitCode != 0 {
		t.Errorf("ExitCode = %d; want 0, that of its signal", c.ExitCode)
	}
}
