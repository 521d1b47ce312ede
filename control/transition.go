// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// Transition takes a move one step on, as one compare-and-swap. The refusal of a
// transition carries the move as it is now (api.CurrentMove). A transition that has
// already been made is answered with the move, so that a lost answer can be asked for again.
func (s *Service) Transition(ctx context.Context, node cluster.NodeID, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error) {
	var m cluster.Move
	done := false
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		var err error
		if m, err = store.Get(ctx, tx, store.Moves.Under(string(id))); err != nil {
			return err
		}
		before := m
		done, err = s.transit(ctx, tx, node, &m, t)
		if err != nil {
			m = before
			return err
		}
		if done {
			return nil
		}
		return store.Put(tx, store.Moves.Under(string(id)), m)
	})
	if err != nil {
		err = fmt.Errorf("%s of move %s by node %s: %w", t.Action, id, node, err)
		if m.ID != "" && !errors.Is(err, cluster.ErrUnavailable) {
			err = &api.MoveError{Move: m, Err: err}
		}
		return cluster.Move{}, err
	}
	if !done {
		m.Revision = rev
	}
	return m, nil
}

// transit changes m, and what the transition changes beside it. It returns true when there is nothing to do.
func (s *Service) transit(ctx context.Context, tx *store.Tx, node cluster.NodeID, m *cluster.Move, t api.MoveTransition) (bool, error) {
	if err := s.mayTransit(ctx, tx, node, *m, t); err != nil {
		return false, err
	}
	if t.Attempt != m.Attempt {
		return false, fmt.Errorf("attempt %d is not the present one (%d): %w", t.Attempt, m.Attempt, cluster.ErrConflict)
	}
	to, err := goal(t)
	if err != nil {
		return false, err
	}
	if m.Phase == to || (to == cluster.MoveCommitted && m.Phase == cluster.MoveCleaned) {
		return true, nil
	}
	if t.Revision != 0 && t.Revision != m.Revision {
		return false, fmt.Errorf("revision %d is not the present one (%d): %w", t.Revision, m.Revision, cluster.ErrConflict)
	}
	if !m.Phase.Follows(to) {
		return false, fmt.Errorf("%s does not follow %s: %w", to, m.Phase, cluster.ErrConflict)
	}
	if m.CancelRequested && to != cluster.MoveAborted && m.Phase.BeforeHandOver() {
		return false, fmt.Errorf("a cancel is requested; only an abort may follow: %w", cluster.ErrConflict)
	}
	if t.Report != nil {
		m.Report = t.Report
	}
	return false, s.enter(ctx, tx, m, to, t)
}

// goal is the phase that a transition leads to.
func goal(t api.MoveTransition) (cluster.MovePhase, error) {
	switch t.Action {
	case api.ActionPhase:
		switch t.Phase {
		case cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting:
			return t.Phase, nil
		default:
			return "", &cluster.FieldError{Field: "phase", Problem: fmt.Sprintf("%q is entered by another action", t.Phase)}
		}
	case api.ActionHandOver:
		if t.Revision == 0 {
			return "", &cluster.FieldError{Field: "revision", Problem: "a hand-over names the revision that was read"}
		}
		return cluster.MoveHandedOver, nil
	case api.ActionAbort:
		return cluster.MoveAborted, nil
	case api.ActionCommit:
		return cluster.MoveCommitted, nil
	case api.ActionTakeBack:
		return cluster.MoveTakenBack, nil
	case api.ActionClean:
		return cluster.MoveCleaned, nil
	}
	return "", &cluster.FieldError{Field: "action", Problem: fmt.Sprintf("%q is unknown", t.Action)}
}

// mayTransit checks who asks, and that it is in its live session. An abort and a
// take-back only give up, so that a node may ask for them also after its session's end.
func (s *Service) mayTransit(ctx context.Context, tx *store.Tx, node cluster.NodeID, m cluster.Move, t api.MoveTransition) error {
	allowed, needsSession := false, true
	switch t.Action {
	case api.ActionPhase, api.ActionHandOver:
		allowed = node == m.Source
	case api.ActionAbort:
		allowed, needsSession = node == m.Source, false
	case api.ActionCommit:
		allowed = node == m.Target
	case api.ActionTakeBack:
		allowed, needsSession = node == m.Source || node == m.Target, false
	case api.ActionClean:
		allowed = node == m.Source
		if node == m.Target {
			_, err := store.Get(ctx, tx, store.Sessions.Under(string(m.Source)))
			if ignoreNotFound(err) != nil {
				return err
			}
			allowed = err != nil // the source is not alive
		}
	}
	if !allowed {
		return fmt.Errorf("that is not for this node to ask: %w", cluster.ErrForbidden)
	}
	if !needsSession {
		return nil
	}
	_, err := checkSession(ctx, tx, node, t.Session)
	return err
}

// enter makes m's phase to, with all that belongs to it.
func (s *Service) enter(ctx context.Context, tx *store.Tx, m *cluster.Move, to cluster.MovePhase, t api.MoveTransition) error {
	switch to {
	case cluster.MoveHandedOver:
		m.HandedOverAt = s.now()
		if err := s.handOver(ctx, tx, *m, t.Released); err != nil {
			return err
		}
	case cluster.MoveAborted, cluster.MoveTakenBack:
		if !m.CancelRequested {
			m.Reason = t.Reason
		}
		if err := s.release(ctx, tx, *m, to == cluster.MoveTakenBack); err != nil {
			return err
		}
	case cluster.MoveCleaned:
		if err := s.release(ctx, tx, *m, false); err != nil {
			return err
		}
	case cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveCommitted:
	}
	if to.Terminal() {
		m.Ended = s.now()
		store.Delete(tx, store.Progress.Under(string(m.ID)))
	}
	m.Phase = to
	return nil
}

// handOver makes the target the owner of everything, if the source has given up exactly what it owns.
func (s *Service) handOver(ctx context.Context, tx *store.Tx, m cluster.Move, released map[cluster.DatasetID]cluster.Epoch) error {
	if len(released) != len(m.Datasets) {
		return fmt.Errorf("%d datasets are released, the move has %d: %w", len(released), len(m.Datasets), cluster.ErrConflict)
	}
	for _, id := range m.Datasets {
		d, err := store.Get(ctx, tx, store.Datasets.Under(string(id)))
		if err != nil {
			return err
		}
		epoch, ok := released[id]
		if !ok || epoch != d.Epoch || d.Owner != m.Source || d.Move != m.ID {
			return fmt.Errorf("dataset %s is at epoch %d of node %s in move %q, released was epoch %d: %w",
				id, d.Epoch, d.Owner, d.Move, epoch, cluster.ErrConflict)
		}
		d.Owner, d.Epoch = m.Target, d.Epoch+1
		if err := store.Put(tx, store.Datasets.Under(string(id)), d); err != nil {
			return err
		}
	}
	return s.eachApplication(ctx, tx, m, func(a *cluster.Application) { a.Node = m.Target })
}

// release ends the move's hold of its objects; with back they return to the source.
func (s *Service) release(ctx context.Context, tx *store.Tx, m cluster.Move, back bool) error {
	for _, id := range m.Datasets {
		key := store.Datasets.Under(string(id))
		d, err := store.Get(ctx, tx, key)
		if err != nil {
			return err
		}
		if d.Move != m.ID {
			return fmt.Errorf("dataset %s belongs to move %q: %w", id, d.Move, cluster.ErrConflict)
		}
		d.Move = ""
		if back {
			d.Owner, d.Epoch = m.Source, d.Epoch+1
		}
		if err := store.Put(tx, key, d); err != nil {
			return err
		}
	}
	return s.eachApplication(ctx, tx, m, func(a *cluster.Application) {
		a.Move = ""
		if back {
			a.Node = m.Source
		}
	})
}

func (s *Service) eachApplication(ctx context.Context, tx *store.Tx, m cluster.Move, change func(*cluster.Application)) error {
	for _, name := range m.Applications {
		key := store.Applications.Under(name)
		a, err := store.Get(ctx, tx, key)
		if err != nil {
			return err
		}
		if a.Move != m.ID {
			return fmt.Errorf("application %s belongs to move %q: %w", name, a.Move, cluster.ErrConflict)
		}
		change(&a)
		if err := store.Put(tx, key, a); err != nil {
			return err
		}
	}
	return nil
}
