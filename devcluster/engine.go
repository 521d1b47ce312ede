// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/internal/run"
)

// ErrNoEngine says that no Docker engine answers and none could be started.
var ErrNoEngine = errors.New("no Docker engine")

// Where the engine that we started, if any, keeps its process id and log.
const (
	stateDir  = "/var/lib/flocker-dev"
	enginePID = stateDir + "/dockerd.pid"
	engineLog = stateDir + "/dockerd.log"
)

// engineStart bounds how long an engine may take to answer after its start.
const engineStart = 60 * time.Second

// Engine is this machine's Docker engine, in which the nodes are containers.
type Engine struct {
	docker *client.Client
	say    func(string)
	// noRegistry spares a second wait once a registry did not answer.
	noRegistry bool
}

// EnsureEngine connects to this machine's Docker engine and starts one where none answers. What takes long is told to
// say, which may be nil.
func EnsureEngine(ctx context.Context, say func(string)) (*Engine, error) {
	e, err := connect(ctx, say)
	if err == nil || !errors.Is(err, ErrNoEngine) || os.Getenv("DOCKER_HOST") != "" {
		return e, err
	}
	e.say("starting Docker's engine; its log is " + engineLog)
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEngine, err)
	}
	pid, err := run.Detach(engineLog, "dockerd")
	if errors.Is(err, run.ErrNotInstalled) {
		return nil, fmt.Errorf("%w answers, and dockerd is not installed; on Debian: apt-get install docker.io", ErrNoEngine)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEngine, err)
	}
	if err := os.WriteFile(enginePID, []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("remember the engine that was started: %w", err)
	}
	return e, e.waitAnswer(ctx)
}

// connect returns an Engine together with ErrNoEngine when nothing answers.
func connect(ctx context.Context, say func(string)) (*Engine, error) {
	if say == nil {
		say = func(string) {}
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("docker client: %w", err)
	}
	e := &Engine{docker: docker, say: say}
	if _, err := docker.Ping(ctx, client.PingOptions{}); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("docker engine: %w (run as root, or as a member of group docker)", err)
		}
		return e, fmt.Errorf("%w: %w", ErrNoEngine, err)
	}
	return e, nil
}

// Connect connects to a Docker engine that runs already.
func Connect(ctx context.Context, say func(string)) (*Engine, error) {
	e, err := connect(ctx, say)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) waitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineStart)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := e.docker.Ping(ctx, client.PingOptions{}); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: the one just started does not answer; the reason is in %s", ErrNoEngine, engineLog)
		}
	}
}

// StopEngine stops the engine that EnsureEngine started, and no other. Without one it does nothing.
func StopEngine(ctx context.Context) (stopped bool, err error) {
	content, err := os.ReadFile(enginePID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", enginePID, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", enginePID, err)
	}
	if isEngine(pid) {
		if err := end(ctx, pid); err != nil {
			return false, fmt.Errorf("stop the Docker engine, process %d: %w", pid, err)
		}
		stopped = true
	}
	return stopped, os.Remove(enginePID)
}

// isEngine guards against a process number that now belongs to another program.
func isEngine(pid int) bool {
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return err == nil && strings.TrimSpace(string(name)) == "dockerd"
}

func end(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // holds nothing that could be lost
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		return err
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		if n > 0 || (err != nil && !errors.Is(err, unix.EINTR)) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
