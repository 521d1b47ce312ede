// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

const (
	readyPause     = 10 * time.Millisecond
	healthPause    = 20 * time.Millisecond
	healthWithin   = 5 * time.Second
	settledAfter   = time.Second // running for so long is ready, where nothing else can be asked
	aliveLookEvery = 200 * time.Millisecond
	dialWithin     = time.Second
	patientAfter   = 50 // the pause grows to this part of the wait so far: each question is a line in some servers' logs
)

// Ready waits until an application is ready behind its closed gate, or has ended, or
// the time is up.
func (n *Node) Ready(ctx context.Context, app cluster.Application, netns string) error {
	if app.ReadyWhenRunning {
		return n.alive(ctx, app.Name)
	}
	probe, pause := n.probeOf(app, netns)
	begun := time.Now()
	looked := begun
	for {
		asked := time.Now()
		last := probe(ctx)
		if last == nil {
			return nil
		}
		if time.Since(looked) > aliveLookEvery {
			looked = time.Now()
			if err := n.alive(ctx, app.Name); err != nil {
				return err
			}
		}
		if app.Health == nil {
			pause = max(pause, time.Since(begun)/patientAfter)
		}
		timer := time.NewTimer(max(0, pause-time.Since(asked)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("application %s is not ready: %w", app.Name, errors.Join(last, ctx.Err()))
		}
	}
}

// probeOf is how one asks whether an application is ready, and how often.
func (n *Node) probeOf(app cluster.Application, netns string) (probe func(context.Context) error, pause time.Duration) {
	if app.Health != nil && len(app.Health.Command) > 0 {
		pause = app.Health.Interval.Std()
		if pause == 0 {
			pause = healthPause
		}
		return func(ctx context.Context) error { return n.healthy(ctx, app) }, pause
	}
	var ports []int
	for _, p := range app.Ports {
		if p.Protocol == "" || p.Protocol == "tcp" {
			ports = append(ports, p.Internal)
		}
	}
	if len(ports) > 0 {
		return func(ctx context.Context) error {
			if err := n.accepting(ctx, netns, ports); err != nil {
				return err
			}
			return n.greeted(ctx, app, netns, ports)
		}, readyPause
	}
	begun := time.Now()
	return func(ctx context.Context) error {
		if d := time.Since(begun); d < settledAfter {
			return fmt.Errorf("running for %v only", d.Round(time.Millisecond))
		}
		return n.alive(ctx, app.Name)
	}, readyPause
}

func (n *Node) healthy(ctx context.Context, app cluster.Application) error {
	timeout := app.Health.Timeout.Std()
	if timeout == 0 {
		timeout = healthWithin
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	code, output, err := n.Engine.Exec(ctx, app.Name, app.Health.Command)
	if err != nil {
		return fmt.Errorf("health command: %w", err)
	}
	if code != 0 {
		return fmt.Errorf("health command ended with %d: %s", code, tail(output, 300))
	}
	return nil
}

func (n *Node) accepting(ctx context.Context, netns string, ports []int) error {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	for _, p := range ports {
		if err := n.Network.DialInside(ctx, netns, p); err != nil {
			return fmt.Errorf("port %d: %w", p, err)
		}
	}
	return nil
}

// alive is an error once the container no longer runs.
func (n *Node) alive(ctx context.Context, app string) error {
	found, err := n.Engine.List(ctx)
	if err != nil {
		return err
	}
	for _, f := range found {
		if !f.Ours || f.Application != app {
			continue
		}
		if f.State == cluster.ContainerRunning {
			return nil
		}
		return fmt.Errorf("application %s: %w: it ended with %d %s", app, container.ErrNotRunning, f.ExitCode, f.Error)
	}
	return fmt.Errorf("application %s: %w", app, container.ErrNotFound)
}
