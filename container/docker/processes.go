// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain is the time between looks at what is about to end.
const lookAgain = 2 * time.Millisecond

// errNoProcess says that a container's first process is not to be seen: it has ended, or is of another PID namespace than ours.
var errNoProcess = errors.New("process not found")

// watch sees the end of all processes of one container. They share a PID namespace, and the kernel ends them all with the first.
type watch struct {
	first     *os.File // a pidfd, readable when the process has ended
	namespace string
}

// watchProcesses opens a watch, and makes sure that the process is the container's.
func watchProcesses(id string, pid int) (*watch, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, errNoProcess
	}
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	w := &watch{first: os.NewFile(uintptr(fd), "pidfd")}
	if err := w.identify(id, pid); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *watch) identify(id string, pid int) (err error) {
	groups, err := os.ReadFile(procPath(pid, "cgroup"))
	if err == nil {
		w.namespace, err = os.Readlink(procPath(pid, "ns", "pid"))
	}
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH):
		return errNoProcess
	case err != nil:
		return fmt.Errorf("look at process %d: %w", pid, err)
	case !bytes.Contains(groups, []byte(id)):
		return fmt.Errorf("process %d is not of container %s: the agent must be in the engine's PID namespace", pid, id)
	}
	return nil
}

func (w *watch) close() {
	_ = w.first.Close() // nothing was written
}

// ended waits for the first process's end; false is that the deadline has passed. A zero deadline is none.
func (w *watch) ended(ctx context.Context, deadline time.Time) (bool, error) {
	connection, err := w.first.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("watch process: %w", err)
	}
	if err := w.first.SetReadDeadline(deadline); err != nil {
		return false, fmt.Errorf("watch process: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = w.first.SetReadDeadline(time.Unix(1, 0)) // fails only when closed, and then nobody waits
	})
	defer stop()
	err = connection.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 && err == nil
	})
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	}
	return false, fmt.Errorf("watch process: %w", err)
}

// untilGone returns when no process is left in the namespace.
func (w *watch) untilGone(ctx context.Context) error {
	if _, err := w.ended(ctx, time.Time{}); err != nil {
		return err
	}
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		pid, err := anyIn(w.namespace)
		if err != nil || pid == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d of the container is still there: %w", pid, ctx.Err())
		}
	}
}

// anyIn finds a process of the namespace; 0 is none.
func anyIn(namespace string) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		link, err := os.Readlink(procPath(pid, "ns", "pid"))
		if err == nil && link == namespace {
			return pid, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) && !errors.Is(err, os.ErrPermission) {
			return 0, fmt.Errorf("namespace of process %d: %w", pid, err)
		}
	}
	return 0, nil
}

// alive says whether the process is there; the engine may not have noticed its end yet.
func alive(pid int) bool {
	return pid > 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

func procPath(pid int, parts ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(pid)}, parts...)...)
}
