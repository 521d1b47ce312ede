// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/container"
)

// Pause freezes the container's control group, which returns when all its processes are frozen.
func (e *Engine) Pause(ctx context.Context, application string) error {
	found, err := e.owned(ctx, application)
	switch {
	case err != nil:
		return err
	case found.State.Paused:
		return nil
	case !found.State.Running:
		return fmt.Errorf("pause container %s: %w", nameOf(application), container.ErrNotRunning)
	}
	if _, err := e.api.ContainerPause(ctx, found.ID, client.ContainerPauseOptions{}); err != nil {
		return fmt.Errorf("pause container %s: %w", nameOf(application), e.notRunning(err))
	}
	return nil
}

// Unpause thaws it.
func (e *Engine) Unpause(ctx context.Context, application string) error {
	found, err := e.owned(ctx, application)
	if err != nil {
		return err
	}
	if err := e.unpause(ctx, found); err != nil {
		return fmt.Errorf("container %s: %w", nameOf(application), err)
	}
	return nil
}
