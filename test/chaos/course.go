// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/flocker-project/flocker/test/lab"
)

const (
	dataScale = 3                // of PostgreSQL, each about 15 MB
	restTime  = 2 * time.Minute  // in which the cluster must come to rest after the last fault
	restEvery = 8                // rounds
	callTime  = 20 * time.Second // of one command in the middle of it all
)

// course is one run.
type course struct {
	lab       *lab.Lab
	databases *lab.Databases
	choose    *rand.Rand
	began     time.Time
	verdict   verdict
}

func newCourse(l *lab.Lab, v verdict) *course {
	v.Moves, v.Faults, v.Acknowledged = map[string]int{}, map[string]int{}, map[string]int{}
	return &course{lab: l, choose: rand.New(rand.NewPCG(v.Seed, 1)), began: time.Now(), verdict: v}
}

func (c *course) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

func (c *course) run(ctx context.Context) error {
	c.say("seed %d, for %g minutes: a cluster of three nodes, PostgreSQL and Redis on node1", c.verdict.Seed, c.verdict.Minutes)
	if err := c.lab.Down(ctx); err != nil {
		return err
	}
	if err := c.lab.Up(ctx); err != nil {
		return err
	}
	var err error
	if c.databases, err = c.lab.StartDatabases(ctx, lab.Node(1), dataScale); err != nil {
		return err
	}
	c.began = time.Now()
	err = c.rounds(ctx)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), tearDown)
	defer cancel()
	for app, w := range c.databases.Writers {
		c.verdict.Acknowledged[app] = w.Count()
	}
	return errors.Join(err, c.count(end), c.databases.Stop(end))
}

// rounds goes on until the time is over, or something is found.
func (c *course) rounds(ctx context.Context) error {
	until := c.began.Add(time.Duration(c.verdict.Minutes * float64(time.Minute)))
	for n := 1; time.Now().Before(until); n++ {
		if err := c.round(ctx); err != nil {
			return err
		}
		if n%restEvery == 0 {
			if err := c.rest(ctx); err != nil {
				return err
			}
		}
	}
	return c.rest(ctx)
}

// round inflicts one fault on moves that are under way.
func (c *course) round(ctx context.Context) error {
	f := c.pick()
	if f.ahead {
		if err := c.inflict(ctx, f); err != nil {
			return err
		}
	}
	for _, app := range slices.Sorted(maps.Keys(c.databases.Writers)) {
		if c.choose.IntN(5) > 0 {
			c.move(ctx, app)
		}
	}
	if !f.ahead {
		c.pause(ctx, 5*time.Second)
		if err := c.inflict(ctx, f); err != nil {
			return err
		}
	}
	c.pause(ctx, f.lasts)
	if err := c.call(ctx, f.end); err != nil {
		return fmt.Errorf("end of %s: %w", f.what, err)
	}
	c.pause(ctx, 4*time.Second)
	return ctx.Err()
}

func (c *course) inflict(ctx context.Context, f fault) error {
	c.say("%s", f.what)
	c.verdict.Faults[f.kind]++
	if err := c.call(ctx, f.begin); err != nil {
		return fmt.Errorf("%s: %w", f.what, err)
	}
	return nil
}

// move begins a move; that one is refused, in the middle of it all, is no wonder.
func (c *course) move(ctx context.Context, app string) {
	target := c.node()
	flags := [][]string{nil, {"--bandwidth", "20MB"}, {"--bandwidth", "100MB", "--ready-timeout", "20s"}}[c.choose.IntN(3)]
	err := c.call(ctx, func(ctx context.Context) error {
		_, err := c.lab.Begin(ctx, app, target, flags...)
		return err
	})
	if err != nil {
		c.say("move %s to %s: refused", app, target)
		return
	}
	c.say("move %s to %s %v", app, target, flags)
}

func (c *course) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return do(ctx)
}

// pause waits for a while that is chosen up to most.
func (c *course) pause(ctx context.Context, most time.Duration) {
	timer := time.NewTimer(time.Duration(c.choose.Int64N(int64(most) + 1)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (c *course) node() string { return lab.Node(1 + c.choose.IntN(c.lab.Nodes)) }

// rest waits until the cluster has come to rest by itself, and looks at everything.
func (c *course) rest(ctx context.Context) error {
	began := time.Now()
	if err := c.lab.Mend(ctx); err != nil {
		return fmt.Errorf("end all faults: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	if _, err := c.lab.Settle(bounded); err != nil {
		return err
	}
	took := time.Since(began)
	c.verdict.Slowest = max(c.verdict.Slowest, took.Milliseconds())
	if err := c.databases.Check(bounded); err != nil {
		return err
	}
	c.say("at rest after %.1fs, every record is there", took.Seconds())
	return nil
}

// count counts how the moves ended.
func (c *course) count(ctx context.Context) error {
	moves, err := c.lab.Moves(ctx)
	for _, m := range moves {
		c.verdict.Moves[string(m.Phase)]++
	}
	return err
}
