// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

var errLost = errors.New("connection to the control service lost")

// state is the store of a control service, with the real rules of transitions.
type state struct {
	mu       sync.Mutex
	desired  cluster.Desired
	changed  chan struct{} // closed at each change
	history  []cluster.MovePhase
	progress int
	stored   func(cluster.MovePhase)
	// meet is called before a transition; it says whether it is carried out, and what its sender is told.
	meet func(from cluster.NodeID, t api.MoveTransition) (deliver bool, answer error)
}

func newState() *state {
	s := &state{desired: cluster.NewDesired(), changed: make(chan struct{})}
	s.desired.Complete = true
	return s
}

// change makes one revision. Maps are copied, since what was read must not change.
func (s *state) change(f func(d *cluster.Desired)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changeLocked(f)
}

func (s *state) changeLocked(f func(d *cluster.Desired)) {
	d := s.desired
	d.Nodes, d.Datasets = maps.Clone(d.Nodes), maps.Clone(d.Datasets)
	d.Applications, d.Moves = maps.Clone(d.Applications), maps.Clone(d.Moves)
	d.Elsewhere = maps.Clone(d.Elsewhere)
	d.Revision++
	f(&d)
	s.desired = d
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *state) read() (cluster.Desired, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desired, s.changed
}

// request is a transition as one node sends it.
func (s *state) request(from cluster.NodeID, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error) {
	s.mu.Lock()
	meet := s.meet
	s.mu.Unlock()
	if meet == nil {
		return s.transition(from, id, t)
	}
	deliver, answer := meet(from, t)
	if !deliver {
		return cluster.Move{}, answer
	}
	m, err := s.transition(from, id, t)
	if answer != nil {
		return cluster.Move{}, answer
	}
	return m, err
}

func (s *state) transition(from cluster.NodeID, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.desired.Moves[id]
	if !ok {
		return m, cluster.ErrNotFound
	}
	refuse := func(format string, args ...any) (cluster.Move, error) {
		err := fmt.Errorf("%s of a move in %s: %s: %w", t.Action, m.Phase, fmt.Sprintf(format, args...), cluster.ErrConflict)
		return cluster.Move{}, &api.MoveError{Move: m, Err: err}
	}
	if t.Attempt != m.Attempt || (t.Revision != 0 && t.Revision != m.Revision) {
		return refuse("attempt %d, revision %d", t.Attempt, t.Revision)
	}
	next, who := next(t)
	if !m.Phase.Follows(next) {
		return refuse("does not follow")
	}
	if who == "source" && from != m.Source || who == "target" && from != m.Target {
		return cluster.Move{}, cluster.ErrForbidden
	}
	for _, id := range m.Datasets {
		d := s.desired.Datasets[id]
		if epoch, released := t.Released[id]; t.Action == api.ActionHandOver && (!released || epoch != d.Epoch || d.Owner != m.Source || d.Move != m.ID) {
			return refuse("dataset %s is not released", id)
		}
	}
	s.changeLocked(func(d *cluster.Desired) { m = store(d, m, next, t) })
	s.history = append(s.history, m.Phase)
	if s.stored != nil {
		s.stored(m.Phase)
	}
	return m, nil
}

func next(t api.MoveTransition) (phase cluster.MovePhase, who string) {
	switch t.Action {
	case api.ActionPhase:
		return t.Phase, "source"
	case api.ActionHandOver:
		return cluster.MoveHandedOver, "source"
	case api.ActionAbort:
		return cluster.MoveAborted, "source"
	case api.ActionCommit:
		return cluster.MoveCommitted, "target"
	case api.ActionTakeBack:
		return cluster.MoveTakenBack, "either"
	case api.ActionClean:
		return cluster.MoveCleaned, "either"
	}
	return "", ""
}

// store is one transaction.
func store(d *cluster.Desired, m cluster.Move, next cluster.MovePhase, t api.MoveTransition) cluster.Move {
	m.Phase, m.Revision = next, d.Revision
	if t.Reason != "" {
		m.Reason = t.Reason
	}
	if t.Report != nil {
		m.Report = t.Report
	}
	owner, changed := m.Target, next == cluster.MoveHandedOver
	if next == cluster.MoveTakenBack {
		owner, changed = m.Source, true
	}
	for _, id := range m.Datasets {
		set := d.Datasets[id]
		if changed {
			set.Owner, set.Epoch = owner, set.Epoch+1
		}
		if next.Terminal() {
			set.Move = ""
		}
		d.Datasets[id] = set
	}
	for _, name := range m.Applications {
		app := d.Applications[name]
		if changed {
			app.Node = owner
		}
		if next.Terminal() {
			app.Move = ""
		}
		d.Applications[name] = app
	}
	d.Moves[m.ID] = m
	return m
}

// client is the store as one agent reaches it.
type client struct {
	state *state
	node  cluster.NodeID
	alive func() bool
}

func (c *client) Transition(_ context.Context, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error) {
	if !c.alive() {
		return cluster.Move{}, errLost
	}
	m, err := c.state.request(c.node, id, t)
	if !c.alive() {
		return cluster.Move{}, errLost
	}
	return m, err
}

func (c *client) Progress(context.Context, cluster.MoveProgress) error {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.state.progress++
	return nil
}
