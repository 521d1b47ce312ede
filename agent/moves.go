// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// catchUpWithin bounds how long objects are kept for the mirror to reach what was stored last of them.
const catchUpWithin = 5 * time.Second

var errClaimed = errors.New("its function runs already")

func (a *Agent) doMove(ctx context.Context, s plan.Step) error {
	desired, _ := a.mirror.read()
	find := func(id cluster.MoveID) (cluster.Move, error) {
		m, ok := desired.Moves[id]
		if !ok {
			return m, fmt.Errorf("move %s: %w", id, cluster.ErrNotFound)
		}
		return m, nil
	}
	switch s := s.(type) {
	case plan.RunMove:
		m, err := find(s.Move)
		if err != nil {
			return err
		}
		return a.claimed(ctx, m, func(ctx context.Context) error { return a.mover.Run(ctx, m, desired) })
	case plan.ResumeMove:
		m, err := find(s.Move)
		if err != nil {
			return err
		}
		if _, err = a.resume(ctx, api.ResumeRequest{Move: m}); errors.Is(err, errClaimed) {
			return nil // the source has asked at the same time
		}
		return err
	case plan.AbortMove:
		return a.mover.Abort(ctx, s.Move, s.Attempt, s.Reason)
	case plan.TakeBackMove:
		return a.mover.TakeBack(ctx, s.Move, s.Reason)
	case plan.CleanMove:
		return a.mover.Clean(ctx, s.Move)
	default:
		return fmt.Errorf("step %s is not about a move", s.Kind())
	}
}

// claimed runs a move's function as the only one of this process. The loop leaves the
// move's objects alone until it has ended and the mirror shows what it stored.
func (a *Agent) claimed(ctx context.Context, m cluster.Move, run func(context.Context) error) error {
	if !a.objects.claim(m.ID) {
		return fmt.Errorf("move %s: %w: %w", m.ID, errClaimed, cluster.ErrConflict)
	}
	t := &transitions{agent: a, move: m}
	a.mu.Lock()
	a.active[m.ID] = t
	a.mu.Unlock()
	defer func() {
		t.end(ctx)
		a.mu.Lock()
		delete(a.active, m.ID)
		a.mu.Unlock()
		a.objects.unclaim(m.ID)
		a.wake.Wake()
	}()
	return run(ctx)
}

// resume runs the target's part. It works on the move's objects from its start.
func (a *Agent) resume(ctx context.Context, req api.ResumeRequest) (reply api.ResumeReply, err error) {
	err = a.claimed(ctx, req.Move, func(ctx context.Context) error {
		if err := a.transitionsOf(req.Move.ID).hold(ctx); err != nil {
			return fmt.Errorf("hold the objects of move %s still: %w", req.Move.ID, err)
		}
		reply, err = a.mover.Resume(ctx, req)
		return err
	})
	return reply, err
}

func (a *Agent) transitionsOf(id cluster.MoveID) *transitions {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.active[id]
}

// transitions stands between a move's function and the control service: it holds the
// move's objects still from the cut-over on, and remembers the last revision stored.
type transitions struct {
	agent *Agent
	move  cluster.Move

	mu      sync.Mutex
	last    cluster.Revision
	release func()
}

// hold keeps the loop's steps off the move's objects until end.
func (t *transitions) hold(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.release != nil {
		return nil
	}
	release, err := t.agent.objects.hold(ctx, objectsOf(t.move))
	if err != nil {
		return err
	}
	t.release = release
	t.agent.objects.engage(t.move.ID)
	return nil
}

// objectsOf names what a move takes along.
func objectsOf(m cluster.Move) []string {
	var names []string
	for _, id := range m.Datasets {
		names = append(names, plan.DatasetObject(id))
	}
	for _, app := range m.Applications {
		names = append(names, plan.ApplicationObject(app))
	}
	return names
}

func (t *transitions) stored(rev cluster.Revision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = max(t.last, rev)
}

func (t *transitions) end(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.agent.catchUp(ctx, t.last)
	if t.release != nil {
		t.release()
	}
}

// Transition asks control for a move's transition, with the node's session. It is
// what the mover calls.
func (a *Agent) Transition(ctx context.Context, id cluster.MoveID, tr api.MoveTransition) (cluster.Move, error) {
	t := a.transitionsOf(id)
	if t != nil && tr.Action == api.ActionPhase && tr.Phase == cluster.MoveCutting {
		if err := t.hold(ctx); err != nil {
			return cluster.Move{}, fmt.Errorf("hold the objects of move %s still: %w", id, err)
		}
	}
	_, session := a.mirror.read()
	tr.Session = session.ID
	m, err := a.Link.Transition(ctx, id, tr)
	if err == nil && t != nil {
		t.stored(m.Revision)
	}
	return m, err
}

// Progress tells control how far a move is.
func (a *Agent) Progress(ctx context.Context, p cluster.MoveProgress) error {
	return a.Link.Progress(ctx, p)
}

// view is what the mover rests its decisions on.
func (a *Agent) view() (cluster.Desired, cluster.Observed) {
	desired, session := a.mirror.read()
	observed := a.lastObserved()
	observed.Session = session.ID
	return desired, observed
}
