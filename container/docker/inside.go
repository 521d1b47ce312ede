// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/container"
)

// keepOutput bounds what is kept of a command's or a container's output: the end of it.
const keepOutput = 64 << 10

// Exec runs a command in the container; when ctx ends first, the command is killed.
func (e *Engine) Exec(ctx context.Context, application string, command []string) (code int, output string, err error) {
	if err := e.mustRun(ctx, application); err != nil {
		return 0, "", err
	}
	made, err := e.api.ExecCreate(ctx, nameOf(application), client.ExecCreateOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, "", fmt.Errorf("run %q in container %s: %w", command, nameOf(application), e.notRunning(err))
	}
	output, err = e.attach(ctx, made.ID)
	if err != nil {
		err = errors.Join(err, e.killExec(context.WithoutCancel(ctx), made.ID))
		return 0, output, fmt.Errorf("run %q in container %s: %w", command, nameOf(application), err)
	}
	code, err = e.exitCode(ctx, made.ID)
	if err != nil {
		return 0, output, fmt.Errorf("run %q in container %s: %w", command, nameOf(application), err)
	}
	return code, output, nil
}

func (e *Engine) mustRun(ctx context.Context, application string) error {
	found, err := e.owned(ctx, application)
	if err != nil {
		return err
	}
	if !found.State.Running {
		return fmt.Errorf("container %s: %w", nameOf(application), container.ErrNotRunning)
	}
	return nil
}

func (e *Engine) notRunning(err error) error {
	if errdefs.IsConflict(err) {
		return fmt.Errorf("%w: %w", container.ErrNotRunning, err)
	}
	return err
}

// attach starts the command and reads its output to the end.
func (e *Engine) attach(ctx context.Context, id string) (string, error) {
	session, err := e.api.ExecAttach(ctx, id, client.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	defer session.Close()
	// The connection is no longer bound to ctx once it is taken over from HTTP.
	stop := context.AfterFunc(ctx, session.Close)
	defer stop()
	var out end
	_, err = stdcopy.StdCopy(&out, &out, session.Reader)
	if ctx.Err() != nil {
		return out.String(), ctx.Err()
	}
	return out.String(), err
}

// exitCode waits for the engine to know the exit code, a moment after the output has ended.
func (e *Engine) exitCode(ctx context.Context, id string) (int, error) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		found, err := e.api.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil {
			return 0, err
		}
		if !found.Running {
			return found.ExitCode, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, errors.Join(ctx.Err(), e.killExec(context.WithoutCancel(ctx), id))
		}
	}
}

// killExec ends a command that nobody waits for any more; Docker has no call for it.
func (e *Engine) killExec(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, reconnectMost)
	defer cancel()
	found, err := e.api.ExecInspect(ctx, id, client.ExecInspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find abandoned command: %w", err)
	}
	if !found.Running || found.PID <= 0 {
		return nil
	}
	if err := unix.Kill(found.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill abandoned command: %w", err)
	}
	return nil
}

// Logs returns the last lines of output.
func (e *Engine) Logs(ctx context.Context, application string, lines int) (text string, err error) {
	if _, err := e.owned(ctx, application); err != nil {
		return "", err
	}
	logs, err := e.api.ContainerLogs(ctx, nameOf(application), client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines),
	})
	if err != nil {
		return "", fmt.Errorf("logs of container %s: %w", nameOf(application), err)
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	var out end
	if _, err := stdcopy.StdCopy(&out, &out, logs); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("logs of container %s: %w", nameOf(application), err)
	}
	return out.String(), nil
}

// end keeps the end of what is written to it.
type end struct{ kept []byte }

func (b *end) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p...)
	if over := len(b.kept) - keepOutput; over > 0 {
		b.kept = append(b.kept[:0], b.kept[over:]...)
	}
	return len(p), nil
}

func (b *end) String() string { return string(b.kept) }
