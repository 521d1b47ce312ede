// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"time"

	"github.com/flocker-project/flocker/migrate"
)

// fault is one thing that goes wrong for a while.
type fault struct {
	kind  string
	what  string
	ahead bool          // before a move begins
	lasts time.Duration // at most
	begin func(context.Context) error
	end   func(context.Context) error
}

func nothing(context.Context) error { return nil }

// pick chooses a fault.
func (c *course) pick() fault {
	kinds := []func() fault{c.drill, c.drill, c.drill, c.kill, c.kill, c.freeze, c.powerLoss, c.cut, c.cut, c.cancel}
	return kinds[c.choose.IntN(len(kinds))]()
}

// drill has an agent die at a point of a move.
func (c *course) drill() fault {
	points := slices.Concat(migrate.SourcePoints(), migrate.TargetPoints(), []string{migrate.BeforeAbort, migrate.AfterAbort})
	node, point := c.node(), points[c.choose.IntN(len(points))]
	return fault{
		kind: "drill", what: "agent of " + node + " dies at " + point, ahead: true, lasts: 10 * time.Second,
		begin: func(ctx context.Context) error { return c.lab.Drill(ctx, node, point) },
		end: func(ctx context.Context) error {
			_, err := c.lab.Drilled(ctx, node, point)
			return err
		},
	}
}

// kill kills a process at any time.
func (c *course) kill() fault {
	node, process := c.node(), []string{"agent", "docker", "control"}[c.choose.IntN(3)]
	if process == "control" {
		node = process
	}
	return fault{
		kind: "kill " + process, what: "kill " + process + " of " + node, lasts: 2 * time.Second,
		begin: func(ctx context.Context) error { return c.lab.Kill(ctx, node, process) },
		end:   nothing,
	}
}

// freeze stops a node with everything in it, shorter or longer than its session lives.
func (c *course) freeze() fault {
	node := c.node()
	dev := func(verb string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.lab.Dev(ctx, verb, node)
			return err
		}
	}
	return fault{kind: "freeze", what: "freeze " + node, lasts: 15 * time.Second, begin: dev("pause"), end: dev("unpause")}
}

func (c *course) powerLoss() fault {
	node := c.node()
	return fault{
		kind: "power loss", what: "power loss of " + node, lasts: 8 * time.Second,
		begin: func(ctx context.Context) error { return c.lab.PowerOff(ctx, node) },
		end:   func(ctx context.Context) error { return c.lab.PowerOn(ctx, node) },
	}
}

// cut cuts a node off from another, from the control service, or from all.
func (c *course) cut() fault {
	node, from := c.node(), []string{c.node(), "control", ""}[c.choose.IntN(3)]
	var others []string
	what := "cut " + node + " off from all"
	if from != "" && from != node {
		others, what = []string{from}, "cut "+node+" off from "+from
	}
	return fault{
		kind: "cut", what: what, lasts: 15 * time.Second,
		begin: func(ctx context.Context) error { return c.lab.Cut(ctx, node, others...) },
		end:   c.lab.Heal,
	}
}

// cancel cancels every move.
func (c *course) cancel() fault {
	return fault{kind: "cancel", what: "cancel every move", end: nothing, begin: func(ctx context.Context) error {
		moves, err := c.lab.Moves(ctx)
		for _, m := range moves {
			if m.Phase.BeforeHandOver() {
				// It may be past its hand-over by now, which is its answer.
				_, _ = c.lab.Flocker(ctx, "moves", "cancel", string(m.ID))
			}
		}
		return err
	}}
}
