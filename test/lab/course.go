// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// Begin starts a move and returns without waiting for it.
func (l *Lab) Begin(ctx context.Context, app, node string, flags ...string) (api.MoveInfo, error) {
	m, err := l.Move(ctx, app, node, append(flags, "--no-wait")...)
	if err != nil {
		return m, err
	}
	err = l.JSON(ctx, &m, "moves", string(m.ID)) // with the names of its nodes
	return m, err
}

// Moves lists every move, newest first.
func (l *Lab) Moves(ctx context.Context) ([]api.MoveInfo, error) {
	var all []api.MoveInfo
	err := l.JSON(ctx, &all, "moves")
	return all, err
}

// WaitMove waits until a move is as asked, and returns it as it is then. A control service that is away is waited for.
func (l *Lab) WaitMove(ctx context.Context, id cluster.MoveID, what string, is func(api.MoveInfo) bool) (api.MoveInfo, error) {
	var m api.MoveInfo
	err := l.Until(ctx, fmt.Sprintf("move %s %s", id, what), func() (bool, error) {
		var now api.MoveInfo
		if err := l.JSON(ctx, &now, "moves", string(id)); err != nil {
			return false, err
		}
		m = now
		return is(m), fmt.Errorf("it is %s", m.Phase)
	})
	return m, err
}

// WaitEnd waits until a move has ended, one way or the other.
func (l *Lab) WaitEnd(ctx context.Context, id cluster.MoveID) (api.MoveInfo, error) {
	return l.WaitMove(ctx, id, "to end", func(m api.MoveInfo) bool { return m.Phase.Terminal() })
}

// Application shows one application.
func (l *Lab) Application(ctx context.Context, name string) (api.ApplicationInfo, error) {
	var a api.ApplicationInfo
	err := l.JSON(ctx, &a, "app", "inspect", name)
	return a, err
}

// Settle waits until nothing is under way or pending, every node is alive, and every application serves on its
// node and runs nowhere else.
func (l *Lab) Settle(ctx context.Context) (api.Status, error) {
	var s api.Status
	err := l.Until(ctx, "the cluster to settle", func() (bool, error) {
		var now api.Status
		if err := l.JSON(ctx, &now, "status"); err != nil {
			return false, err
		}
		s = now
		why := unsettled(s)
		return why == nil, why
	})
	return s, err
}

func unsettled(s api.Status) error {
	var errs []error
	for _, n := range s.Nodes {
		if !n.IsAlive {
			errs = append(errs, fmt.Errorf("%s is not alive", n.Name))
		}
	}
	for _, m := range s.Moves {
		errs = append(errs, fmt.Errorf("move %s of %v is %s", m.ID, m.Applications, m.Phase))
	}
	for _, p := range s.Pending {
		errs = append(errs, fmt.Errorf("%s on %s: %s", p.Name, p.Node, p.Reason))
	}
	for _, a := range s.Applications {
		c := a.Container
		if c == nil || c.State != cluster.ContainerRunning || !c.Ready || !c.GateOpen {
			errs = append(errs, fmt.Errorf("application %s does not serve on %s", a.Name, a.NodeName))
		}
		for node, c := range a.Elsewhere {
			if c.State == cluster.ContainerRunning || c.State == cluster.ContainerPaused {
				errs = append(errs, fmt.Errorf("application %s is %s on %s too", a.Name, c.State, node))
			}
		}
	}
	return errors.Join(errs...)
}
