// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/mount"
)

// served mounts a filesystem whose server never answers.
func served(t *testing.T) (dir string, c connection) {
	t.Helper()
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	dir = t.TempDir()
	if err := unix.Mount("flocker", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	table, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	at, mounted := mount.At(table, dir)
	if !mounted {
		t.Fatalf("%s is not in the mount table", dir)
	}
	held, err := os.OpenFile(dir, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	return dir, connection{unix.Minor(at.Dev), held}
}

// Who waits for a server of a node is woken when the node's first process has ended, and not before.
func TestServersOfADeadNodeAreNotWaitedFor(t *testing.T) {
	runtest.Need(t, "cat")
	dir, c := served(t)
	in, _, err := os.Pipe() // that nobody writes to
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	node := run.Command(t.Context(), "cat")
	node.Stdin = in
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	s := servers{init: filepath.Join("/proc", strconv.Itoa(node.Pid())), connections: []connection{c}}
	waited, broken := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := os.Stat(filepath.Join(dir, "file"))
		waited <- err
	}()
	go func() { broken <- s.whenDead(t.Context()) }()
	select {
	case err := <-waited:
		t.Fatalf("Stat ended with %v while the node lives", err)
	case err := <-broken:
		t.Fatalf("the connection was broken, %v, while the node lives", err)
	default:
	}
	if err := unix.Kill(node.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-broken; err != nil {
		t.Error(err)
	}
	if err := <-waited; !errors.Is(err, unix.ECONNABORTED) && !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("Stat = %v; want that its connection is broken", err)
	}
	if err := node.Wait(); err == nil {
		t.Error("the node's process was to be killed")
	}
	if err := s.letGo(); err != nil {
		t.Error(err)
	}
}
