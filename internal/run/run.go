// SPDX-License-Identifier: Apache-2.0

// Package run starts other programs; it is the only place that imports os/exec.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// ErrNotInstalled says that the program is not on this machine's path.
var ErrNotInstalled = errors.New("program not installed")

// killDelay bounds how long a cancelled command may keep its pipes open through a grandchild.
const killDelay = 5 * time.Second

// keepStderr is how much of a program's last error output an error carries.
const keepStderr = 4096

// Cmd is one program to run, once.
type Cmd struct {
	Stdin  io.Reader
	Stdout io.Writer // Output replaces it
	Stderr io.Writer // a copy; the end of it is in the error as well
	Env    []string  // added to this process's environment
	Dir    string

	cmd     *exec.Cmd
	ended   func() error // of the context
	tail    tail
	started time.Time
	elapsed time.Duration
}

// Command prepares a program that is killed when ctx ends. Messages are in English whatever the locale is.
func Command(ctx context.Context, name string, args ...string) *Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = killDelay
	return &Cmd{cmd: cmd, ended: ctx.Err}
}

// Run runs the program to its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program to its end and returns what it printed.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// Start starts the program; Wait must follow.
func (c *Cmd) Start() error {
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Dir = c.Stdin, c.Stdout, c.Dir
	c.cmd.Env = append(append(os.Environ(), "LC_ALL=C"), c.Env...)
	c.cmd.Stderr = &c.tail
	if c.Stderr != nil {
		c.cmd.Stderr = io.MultiWriter(&c.tail, c.Stderr)
	}
	c.started = time.Now()
	if err := c.cmd.Start(); err != nil {
		return c.failed(err)
	}
	return nil
}

// Wait waits for the program's end and for all of its output.
func (c *Cmd) Wait() error {
	err := c.cmd.Wait()
	c.elapsed = time.Since(c.started)
	if err != nil {
		return c.failed(err)
	}
	return nil
}

// Pid is the process id after Start.
func (c *Cmd) Pid() int { return c.cmd.Process.Pid }

// Elapsed is how long the program ran, known after Wait.
func (c *Cmd) Elapsed() time.Duration { return c.elapsed }

func (c *Cmd) failed(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%w: %s", ErrNotInstalled, c.cmd.Args[0])
	}
	if ended := c.ended(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err) // it was killed, which says nothing by itself
	}
	return &Error{
		Command: strings.Join(c.cmd.Args, " "),
		Stderr:  strings.TrimSpace(string(c.tail.last)),
		Elapsed: c.elapsed,
		Err:     err,
	}
}

// Error is a program's failure with the end of what it wrote to standard error.
type Error struct {
	Command string
	Stderr  string
	Elapsed time.Duration
	Err     error
}

// Error names the command, the failure and the program's own words.
func (e *Error) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("run %q: %v", e.Command, e.Err)
	}
	return fmt.Sprintf("run %q: %v: %s", e.Command, e.Err, e.Stderr)
}

// Unwrap gives the cause, so that errors.Is finds ErrNotInstalled and context errors.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the program's exit status, or -1 when it did not run or died by a signal.
func (e *Error) ExitCode() int {
	if exit, ok := errors.AsType[*exec.ExitError](e.Err); ok {
		return exit.ExitCode()
	}
	return -1
}

// Detach starts a program that outlives this process, in a session of its own, with its output appended to logFile.
func Detach(logFile, name string, args ...string) (pid int, err error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("log of %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd := exec.Command(name, args...) //nolint:noctx // outlives every context of this process
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("%w: %s", ErrNotInstalled, name)
		}
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	pid = cmd.Process.Pid
	return pid, cmd.Process.Release()
}

// tail keeps the last bytes written to it.
type tail struct{ last []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	if over := len(t.last) - keepStderr; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return len(p), nil
}
