// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// Pause waits for the part of the program that is under way, see Process.Work, and lets no other begin.
func (e *Engine) Pause(_ context.Context, application string) error {
	if err := e.fault("Pause", application); err != nil {
		return err
	}
	c, p := e.running(application)
	switch {
	case c == nil:
		return fmt.Errorf("container %s%s: %w", container.NamePrefix, application, container.ErrNotFound)
	case p == nil:
		return fmt.Errorf("container %s%s: %w", container.NamePrefix, application, container.ErrNotRunning)
	}
	p.pause()
	e.turn(c, p, cluster.ContainerPaused)
	return nil
}

// Unpause lets the program go on.
func (e *Engine) Unpause(_ context.Context, application string) error {
	if err := e.fault("Unpause", application); err != nil {
		return err
	}
	c, p := e.running(application)
	if c == nil {
		return fmt.Errorf("container %s%s: %w", container.NamePrefix, application, container.ErrNotFound)
	}
	if p != nil {
		e.turn(c, p, cluster.ContainerRunning)
		p.unpause()
	}
	return nil
}

// turn changes the state of a run that has not ended.
func (e *Engine) turn(c *instance, p *process, state cluster.ContainerState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.now == p {
		c.state = state
		e.changed()
	}
}
