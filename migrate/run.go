// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// Defaults of MoveOptions.
const (
	defaultGapBudget    = 100 * time.Millisecond
	defaultReadyTimeout = 60 * time.Second
	defaultMaxRounds    = 10
)

// run is the source's part of one move, from its beginning in this process.
type run struct {
	node   *Node
	claim  *running
	move   cluster.Move // as last stored
	target cluster.Node
	apps   []cluster.Application
	sets   []*set
	limit  *rate.Limiter
	ground *ground
	times  *timeline
	shown  *progress
}

// Run is the source's whole part of a move. It returns nil when the move's outcome is
// stored, whichever it is, and an error when someone must go on with it: the agent's
// next round, or the next agent.
func (n *Node) Run(outer context.Context, m cluster.Move, desired cluster.Desired) error {
	ctx, claim, err := n.claim(outer, m.ID)
	if err != nil {
		return err
	}
	defer n.unclaim(m.ID)
	r, err := n.begin(claim, m, desired)
	if err != nil {
		return err
	}
	defer r.shown.start(ctx)()
	err = r.toHandOver(ctx)
	switch {
	case err == nil, r.move.Phase == cluster.MoveHandedOver: // an answer may tell that an earlier request was granted
		return r.toEnd(outer)
	case outer.Err() != nil && r.move.Phase != cluster.MoveCutting:
		return fmt.Errorf("move %s: the agent is ending: %w", m.ID, err) // nothing was stopped: the next one goes on
	}
	lingering, done := linger(outer)
	defer done()
	return r.abort(lingering, err)
}

// lingerFor is what is left to store an outcome when the agent ends.
const lingerFor = 5 * time.Second

// linger is a context that outlives ctx a little.
func linger(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lingerFor, cancel) })
	return longer, func() { stop(); cancel() }
}

func (n *Node) begin(claim *running, m cluster.Move, desired cluster.Desired) (*run, error) {
	target, ok := desired.Nodes[m.Target]
	if !ok {
		return nil, fmt.Errorf("move %s: target node %s: %w", m.ID, m.Target, cluster.ErrNotFound)
	}
	r := &run{node: n, claim: claim, move: m, target: target, ground: n.ground(m), times: newTimeline(n.ID)}
	for _, name := range m.Applications {
		app, ok := desired.Applications[name]
		if !ok {
			return nil, fmt.Errorf("move %s: application %s: %w", m.ID, name, cluster.ErrNotFound)
		}
		r.apps = append(r.apps, app)
	}
	for _, id := range m.Datasets {
		d, ok := desired.Datasets[id]
		if !ok {
			return nil, fmt.Errorf("move %s: dataset %s: %w", m.ID, id, cluster.ErrNotFound)
		}
		r.sets = append(r.sets, &set{run: r, dataset: d})
	}
	if b := m.Options.Bandwidth; b > 0 {
		r.limit = rate.NewLimiter(rate.Limit(b), int(min(max(b/4, 64<<10), 8<<20)))
	}
	r.shown = &progress{store: n.Store, log: n.Log, move: m.ID}
	return r, nil
}

// toHandOver does everything up to a stored hand-over.
func (r *run) toHandOver(ctx context.Context) error {
	if err := r.ground.do(plan.RunMove{Move: r.move.ID}, func() error { return nil }); err != nil {
		return err
	}
	r.node.fault(BeforePreparing)
	if err := r.enter(ctx, cluster.MovePreparing); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.node.fault(AfterPreparing)
	r.node.fault(BeforeCopying)
	if err := r.enter(ctx, cluster.MoveCopying); err != nil {
		return err
	}
	if err := r.copy(ctx); err != nil {
		return err
	}
	if err := r.flushVolumes(ctx); err != nil {
		return err
	}
	r.node.fault(AfterCopying)
	defer r.disarm()
	if err := r.arm(ctx); err != nil {
		return err
	}
	r.node.fault(BeforeCutting)
	if err := r.enter(ctx, cluster.MoveCutting); err != nil {
		return err
	}
	return r.cut(ctx)
}

// enter stores a phase, unless the move is there or beyond. While control is away it
// waits: before the cut-over nothing is lost by that.
func (r *run) enter(ctx context.Context, phase cluster.MovePhase) error {
	pause := newPauses()
	for {
		if reached(r.move.Phase, phase) {
			return nil
		}
		if r.move.CancelRequested {
			return errCancelled
		}
		err := r.transition(ctx, api.MoveTransition{Action: api.ActionPhase, Phase: phase, Revision: r.move.Revision})
		switch {
		case err == nil:
		case errors.Is(err, cluster.ErrConflict):
			if !r.move.Phase.BeforeHandOver() {
				return fmt.Errorf("the move is %s: %s", r.move.Phase, r.move.Reason)
			}
		case lasting(err):
			return fmt.Errorf("store phase %s: %w", phase, err)
		}
		if err == nil {
			continue
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// reached says whether a move before its hand-over has come as far as a phase.
func reached(is, want cluster.MovePhase) bool {
	order := map[cluster.MovePhase]int{
		cluster.MovePlanned: 1, cluster.MovePreparing: 2, cluster.MoveCopying: 3, cluster.MoveCutting: 4,
	}
	return order[is] >= order[want]
}

// lasting says whether an answer will be the same next time.
func lasting(err error) bool {
	return errors.Is(err, cluster.ErrForbidden) || errors.Is(err, cluster.ErrInvalid) || errors.Is(err, cluster.ErrNotFound)
}

// transition asks for a transition of this attempt and keeps the move as the answer
// has it, whether it was granted or refused.
func (r *run) transition(ctx context.Context, t api.MoveTransition) error {
	t.Attempt = r.move.Attempt
	t.Report = r.times.snapshot()
	m, err := r.node.Store.Transition(ctx, r.move.ID, t)
	if err != nil {
		current, ok := api.CurrentMove(err)
		if !ok || current.ID != r.move.ID {
			return err
		}
		m = current
	}
	if m.Revision >= r.move.Revision {
		r.move = m
		r.ground.advance(m)
	}
	return err
}

// pauses grow between tries of something that is expected to come back.
type pauses struct{ next time.Duration }

func newPauses() *pauses { return &pauses{next: 50 * time.Millisecond} }

func (p *pauses) wait(ctx context.Context) error {
	timer := time.NewTimer(p.next)
	defer timer.Stop()
	p.next = min(2*p.next, time.Second)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
