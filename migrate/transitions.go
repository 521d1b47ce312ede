// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"fmt"
	"maps"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// Abort stores that a move is over, for a source whose function is no longer there.
// It returns nil once its outcome is known, which may also be that the hand-over came first.
func (n *Node) Abort(ctx context.Context, id cluster.MoveID, attempt int, reason string) error {
	n.fault(BeforeAbort)
	m, err := n.settle(ctx, id, api.MoveTransition{Action: api.ActionAbort, Attempt: attempt, Reason: reason})
	if err != nil {
		return fmt.Errorf("abort move %s: %w", id, err)
	}
	if m.Phase.BeforeHandOver() && m.Attempt <= attempt {
		return fmt.Errorf("abort move %s: refused while it is %s: %w", id, m.Phase, cluster.ErrConflict)
	}
	n.fault(AfterAbort)
	if err := n.Notes.Remove(id); err != nil {
		return err
	}
	n.discardOn(ctx, m)
	return nil
}

// TakeBack gives the datasets of a move back to its source. It returns nil once the
// outcome is known, which may also be that the target has committed.
func (n *Node) TakeBack(ctx context.Context, id cluster.MoveID, reason string) error {
	m, err := n.current(id)
	if err != nil {
		return err
	}
	now, err := n.settle(ctx, id, api.MoveTransition{
		Action: api.ActionTakeBack, Attempt: m.Attempt, Revision: m.Revision, Reason: reason,
	})
	if err != nil {
		return fmt.Errorf("take move %s back: %w", id, err)
	}
	if now.Phase == cluster.MoveHandedOver {
		return fmt.Errorf("take move %s back: refused: %w", id, cluster.ErrConflict)
	}
	n.discardOn(ctx, now)
	return nil
}

// Clean stores that nothing of a committed move is left to do, with the report where
// this process measured it.
func (n *Node) Clean(ctx context.Context, id cluster.MoveID) error {
	m, err := n.current(id)
	if err != nil {
		return err
	}
	n.mu.Lock()
	report := n.reports[id]
	n.mu.Unlock()
	now, err := n.settle(ctx, id, api.MoveTransition{Action: api.ActionClean, Attempt: m.Attempt, Report: report})
	if err != nil {
		return fmt.Errorf("end move %s: %w", id, err)
	}
	if now.Phase != cluster.MoveCleaned {
		return fmt.Errorf("end move %s: refused while it is %s: %w", id, now.Phase, cluster.ErrConflict)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.reports, id)
	return nil
}

// Settle forgets what is kept of moves whose outcome the store shows, the notes of
// their hand-overs above all. It is called with each complete read.
func (n *Node) Settle(desired cluster.Desired) error {
	if !desired.Complete {
		return nil
	}
	n.forget(desired.Moves)
	noted, err := n.Notes.List()
	if err != nil {
		return err
	}
	running := n.Claims()
	for id := range noted {
		m, known := desired.Moves[id]
		if running[id] || known && m.Phase.BeforeHandOver() {
			continue
		}
		if err := n.Notes.Remove(id); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) forget(moves map[cluster.MoveID]cluster.Move) {
	over := func(id cluster.MoveID) bool {
		m, known := moves[id]
		return !known || m.Phase.Terminal()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.outcomes, func(id cluster.MoveID, _ api.ResumeReply) bool { return over(id) })
	maps.DeleteFunc(n.reports, func(id cluster.MoveID, _ *cluster.MoveReport) bool { return over(id) })
	maps.DeleteFunc(n.prepared, func(id cluster.MoveID, _ *preparation) bool { return moves[id].Phase.Terminal() })
}

// settle asks once. A refusal that shows the move as it is now is an answer too.
func (n *Node) settle(ctx context.Context, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error) {
	m, err := n.Store.Transition(ctx, id, t)
	if err == nil {
		return m, nil
	}
	if current, ok := api.CurrentMove(err); ok && current.ID == id {
		return current, nil
	}
	return cluster.Move{}, err
}

func (n *Node) current(id cluster.MoveID) (cluster.Move, error) {
	desired, _ := n.View()
	m, ok := desired.Moves[id]
	if !ok {
		return m, fmt.Errorf("move %s: %w", id, cluster.ErrNotFound)
	}
	return m, nil
}

// discardOn tells the target of a move that has ended without it; the target's own
// plan does the same, later.
func (n *Node) discardOn(ctx context.Context, m cluster.Move) {
	desired, _ := n.View()
	target, ok := desired.Nodes[m.Target]
	if !ok || m.Source != n.ID || (m.Phase != cluster.MoveAborted && m.Phase != cluster.MoveTakenBack) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, discardWithin)
	defer cancel()
	if err := n.Peers.Discard(ctx, target, m); err != nil {
		n.Log.Info("target not told that the move is over", "move", m.ID, "target", m.Target, "error", err)
	}
}

func (n *Node) keepReport(id cluster.MoveID, report *cluster.MoveReport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reports == nil {
		n.reports = map[cluster.MoveID]*cluster.MoveReport{}
	}
	n.reports[id] = report
}
