// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/migrate"
	"github.com/flocker-project/flocker/plan"
)

func (a *Agent) doContainer(ctx context.Context, s plan.Step) error {
	desired, _ := a.mirror.read()
	switch s := s.(type) {
	case plan.CreateContainer:
		app, ok := desired.Applications[s.Application]
		if !ok {
			return fmt.Errorf("application %s: %w", s.Application, cluster.ErrNotFound)
		}
		if err := a.ensureImage(ctx, app.Image); err != nil {
			return fmt.Errorf("application %s: %w", app.Name, err)
		}
		spec, err := a.mover.ContainerSpec(app)
		if err != nil {
			return err
		}
		_, err = a.Engine.Create(ctx, spec)
		return err
	case plan.StartContainer:
		if err := a.Engine.Start(ctx, s.Application); err != nil {
			return err
		}
		a.lives.starting(s.Application, s.Restart)
		return nil
	case plan.StopContainer:
		signal, timeout := migrate.StopOf(desired.Applications[s.Application])
		return a.Engine.Stop(ctx, s.Application, signal, timeout)
	case plan.RemoveContainer:
		if err := a.Engine.Remove(ctx, s.Application); err != nil {
			return err
		}
		a.lives.removed(s.Application)
		return nil
	case plan.OpenGate:
		return a.setGate(ctx, s.Application, true)
	case plan.CloseGate:
		return a.setGate(ctx, s.Application, false)
	default:
		return fmt.Errorf("step %s is not about a container", s.Kind())
	}
}

func (a *Agent) ensureImage(ctx context.Context, ref string) error {
	_, _, err := a.Engine.HasImage(ctx, ref)
	if err == nil || !errors.Is(err, container.ErrImageMissing) {
		return err
	}
	if err := a.Engine.Pull(ctx, ref); err != nil {
		return fmt.Errorf("image %s is not on this node and cannot be pulled: %w", ref, err)
	}
	return nil
}

func (a *Agent) setGate(ctx context.Context, app string, open bool) error {
	netns, err := a.place(ctx, app)
	if err != nil {
		return err
	}
	return a.Network.SetGate(ctx, netns, open)
}
