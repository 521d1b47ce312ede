// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

const (
	// defaultSignal and defaultStopTimeout hold where neither the caller, the application nor the image says otherwise.
	defaultSignal      = "SIGTERM"
	defaultStopTimeout = 10 * time.Second
)

// Stop stops the container; a time-out of zero is the application's own.
func (e *Engine) Stop(ctx context.Context, application, signal string, timeout time.Duration) error {
	found, err := e.owned(ctx, application)
	if errors.Is(err, container.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !found.State.Running {
		return nil
	}
	if err := e.stop(ctx, found, stopSignal(signal, found), stopTimeout(timeout, found)); err != nil {
		return fmt.Errorf("stop container %s: %w", nameOf(application), err)
	}
	return nil
}

// stop sends the signal itself, where Docker's own stop call would do, because that takes no signal before API 1.42; and it watches
// the processes itself, because Docker tells of their end some 80 ms late, which would be in the gap of every move.
func (e *Engine) stop(ctx context.Context, found dockercontainer.InspectResponse, signal string, timeout time.Duration) error {
	watch, err := watchProcesses(found.ID, found.State.Pid)
	if errors.Is(err, errNoProcess) {
		return e.untilNoticed(ctx, found.ID)
	}
	if err != nil {
		return err
	}
	defer watch.close()
	if err := e.kill(ctx, found.ID, signal); err != nil {
		return err
	}
	if err := e.unpause(ctx, found); err != nil {
		return err
	}
	ended, err := watch.ended(ctx, time.Now().Add(timeout))
	if err != nil {
		return err
	}
	if !ended {
		if err := e.kill(ctx, found.ID, "SIGKILL"); err != nil {
			return err
		}
	}
	return watch.untilGone(ctx)
}

// kill sends a signal; a container that has just ended is success.
func (e *Engine) kill(ctx context.Context, id, signal string) error {
	_, err := e.api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal})
	if err != nil && !errdefs.IsConflict(err) {
		return fmt.Errorf("send %s: %w", signal, err)
	}
	return nil
}

// unpause lets a paused container see the signal that it has been sent; Docker may have done so by itself.
func (e *Engine) unpause(ctx context.Context, found dockercontainer.InspectResponse) error {
	if !found.State.Paused {
		return nil
	}
	_, refused := e.api.ContainerUnpause(ctx, found.ID, client.ContainerUnpauseOptions{})
	if refused == nil {
		return nil
	}
	now, err := e.inspectNamed(ctx, found.ID)
	if err == nil && now.State.Paused {
		return fmt.Errorf("unpause: %w", refused)
	}
	return err
}

func stopSignal(asked string, found dockercontainer.InspectResponse) string {
	if asked != "" {
		return asked
	}
	if found.Config.StopSignal != "" {
		return found.Config.StopSignal
	}
	return defaultSignal
}

func stopTimeout(asked time.Duration, found dockercontainer.InspectResponse) time.Duration {
	if asked > 0 {
		return asked
	}
	if found.Config.StopTimeout != nil {
		return time.Duration(*found.Config.StopTimeout) * time.Second
	}
	return defaultStopTimeout
}

// seconds rounds up: Docker knows whole seconds only.
func seconds(d cluster.Duration) int {
	return int((time.Duration(d) + time.Second - 1) / time.Second)
}
