// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a running program that this process may not have started.
type Process struct {
	Pid   int
	match func(args []string) bool
}

// Processes are those of this machine whose command line matches. One that has ended has none, whether or not anybody waited for it.
func Processes(match func(args []string) bool) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && matches(pid, match) {
			found = append(found, Process{pid, match})
		}
	}
	return found, nil
}

func matches(pid int, match func([]string) bool) bool {
	args := arguments(pid)
	return args != nil && match(args)
}

// betweenPrograms is how often a process without a command line is looked at again: one that is just about to be another program has none
// for a moment.
const betweenPrograms = 20

// arguments are a process's command line. A process that has ended has none, nor have the kernel's own.
func arguments(pid int) []string {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	for range betweenPrograms {
		text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			return nil
		}
		if len(text) > 0 {
			return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
		}
		if _, err := os.Readlink(filepath.Join(dir, "exe")); err != nil {
			return nil
		}
		if endsSoon(pid) {
			return nil
		}
	}
	return nil
}

// endsSoon waits a little for the end of a process.
func endsSoon(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	gone, err := ended(fd, time.Millisecond)
	return gone || err != nil
}

// lives says whether the process of a descriptor, which has this number, is still the one that was found.
func (p Process) lives(ctx context.Context, fd int) (bool, error) {
	for {
		if args := arguments(p.Pid); args != nil {
			return p.match(args), nil
		}
		if gone, err := ended(fd, time.Millisecond); gone || err != nil {
			return false, err
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

// ended waits that long for a process's end.
func ended(fd int, wait time.Duration) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// End ends the process and returns when it is gone with all that it was doing: asked kindly first where kindly is not 0, and killed
// after that. It is never another process that got its number.
func (p Process) End(ctx context.Context, kindly time.Duration) error {
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end process %d: %w", p.Pid, err)
	}
	defer unix.Close(fd)
	if lives, err := p.lives(ctx, fd); !lives || err != nil {
		return p.failed(err)
	}
	if kindly > 0 {
		if gone, err := signal(ctx, fd, unix.SIGTERM, kindly); gone || err != nil {
			return p.failed(err)
		}
	}
	for {
		if gone, err := signal(ctx, fd, unix.SIGKILL, time.Second); gone || err != nil {
			return p.failed(err)
		}
	}
}

func (p Process) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("end process %d: %w", p.Pid, err)
}

// waitStep bounds how long a wait goes on after its context.
const waitStep = 50 * time.Millisecond

// signal waits that long for the end of a process that it sent a signal.
func signal(ctx context.Context, fd int, signal unix.Signal, patience time.Duration) (gone bool, err error) {
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); errors.Is(err, unix.ESRCH) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if gone, err := ended(fd, waitStep); gone || err != nil {
			return gone, err
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	return false, nil
}

// Scoped prepares a program that puts itself into the background and goes on when this process ends: in a session of its own
// and, where systemd is, in a scope of its own, because systemd ends what is left of a unit with it.
func Scoped(ctx context.Context, name string, args ...string) *Cmd {
	outer := []string{"setsid"}
	if info, err := os.Stat("/run/systemd/system"); err == nil && info.IsDir() { // as sd_booted(3) does
		outer = []string{"systemd-run", "--scope", "--quiet", "--collect", "setsid"}
	}
	words := append(append(outer, name), args...)
	return Command(ctx, words[0], words[1:]...)
}
