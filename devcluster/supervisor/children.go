// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// family starts processes and, being process 1, collects every process that ends: its own children and the orphans.
// os/exec cannot be used beside that, since it waits for its children itself.
type family struct {
	log     *slog.Logger
	mu      sync.Mutex
	waiters map[int]chan<- string
}

func newFamily(log *slog.Logger) *family {
	return &family{log: log, waiters: map[int]chan<- string{}}
}

// reap collects ended processes until quit is closed.
func (f *family) reap(quit <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		for f.reapOne() {
		}
		select {
		case <-ended:
		case <-quit:
			return
		}
	}
}

func (f *family) reapOne() bool {
	var status syscall.WaitStatus
	// The lock keeps a child from being collected between its start and its entry in waiters.
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	if errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if waiter, ok := f.waiters[pid]; ok {
		waiter <- describe(status)
		delete(f.waiters, pid)
	}
	return true
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// start starts a program in a session of its own, with both outputs to out.
func (f *family) start(command []string, out *os.File, env []string) (*process, error) {
	program, err := lookup(command[0])
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }() // opened for reading, nothing can be lost
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, err := syscall.ForkExec(program, command, &syscall.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	ended := make(chan string, 1)
	f.waiters[pid] = ended
	return &process{pid: pid, ended: ended, signal: func(s syscall.Signal) error { return f.signal(pid, s) }}, nil
}

// signal reaches only a child that has not been collected, so its number cannot belong to another process.
func (f *family) signal(pid int, s syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.waiters[pid]; !ok {
		return os.ErrProcessDone
	}
	return syscall.Kill(pid, s)
}

// lookup finds a program where every node has them; the path of process 1 may be empty.
func lookup(name string) (string, error) {
	for _, dir := range []string{"", "/usr/local/bin/", "/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"} {
		path := dir + name
		if info, err := os.Stat(path); err == nil && path[0] == '/' && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s: %w", name, os.ErrNotExist)
}

// pipeTo gives a file to hand to children whose output goes to w, until the last of them has ended.
func pipeTo(w io.Writer, log *slog.Logger) (*os.File, error) {
	r, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		if _, err := io.Copy(w, r); err != nil {
			log.Error("a child's log cannot be written; its output is dropped from here", "error", err)
			// The pipe must go on being emptied, or the child stops in its next write. It ends with process 1.
			_, _ = io.Copy(io.Discard, r)
		}
	}()
	return out, nil
}
