// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// store is the control service's state with its whole history, and its transitions of moves as transactions.
type store struct {
	now     cluster.Desired
	history []cluster.Desired // by revision
	// loose makes one compare of the transactions missing, to see that the laws notice.
	loose Bugs
}

func newStore() *store {
	s := &store{now: cluster.NewDesired()}
	s.now.Complete = true
	s.history = []cluster.Desired{s.now}
	return s
}

// write is one transaction.
func (s *store) write(change func(d *cluster.Desired)) {
	next := s.now
	next.Revision++
	next.Nodes, next.Datasets = maps.Clone(next.Nodes), maps.Clone(next.Datasets)
	next.Applications, next.Moves = maps.Clone(next.Applications), maps.Clone(next.Moves)
	next.Elsewhere = maps.Clone(next.Elsewhere)
	change(&next)
	s.now = next
	s.history = append(s.history, next)
}

// transition carries out what a node asked for, whenever it arrives: nothing but the compares of the
// transaction protects, since the node that asked may be dead by then.
func (s *store) transition(from cluster.NodeID, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error) {
	m := s.now.Moves[id]
	after, done := map[api.MoveAction]cluster.MovePhase{
		api.ActionPhase: t.Phase, api.ActionHandOver: cluster.MoveHandedOver, api.ActionAbort: cluster.MoveAborted,
		api.ActionCommit: cluster.MoveCommitted, api.ActionTakeBack: cluster.MoveTakenBack, api.ActionClean: cluster.MoveCleaned,
	}[t.Action], false
	if done = m.Phase == after; done && t.Action != api.ActionPhase && t.Action != api.ActionHandOver {
		return m, nil // the same request again
	}
	if err := s.compare(from, m, after, t); err != nil {
		return m, err
	}
	s.write(func(d *cluster.Desired) {
		m.Phase, m.Revision, m.Reason = after, d.Revision, t.Reason
		d.Moves[id] = m
		switch after {
		case cluster.MoveHandedOver:
			own(d, m, m.Target, m.ID)
		case cluster.MoveTakenBack:
			own(d, m, m.Source, "")
		case cluster.MoveAborted, cluster.MoveCleaned:
			unmark(d, m)
		case cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveCommitted:
		}
	})
	return s.now.Moves[id], nil
}

func (s *store) compare(from cluster.NodeID, m cluster.Move, after cluster.MovePhase, t api.MoveTransition) error {
	fromEnd := t.Action == api.ActionTakeBack || t.Action == api.ActionClean
	byTarget := t.Action == api.ActionCommit
	switch {
	case t.Attempt != m.Attempt:
		return fmt.Errorf("attempt is %d: %w", m.Attempt, cluster.ErrConflict)
	case byTarget && from != m.Target, !byTarget && !fromEnd && from != m.Source, fromEnd && from != m.Source && from != m.Target:
		return fmt.Errorf("%s may not: %w", from, cluster.ErrForbidden)
	case s.loose.TakeBackAfterCommit && t.Action == api.ActionTakeBack && m.Phase == cluster.MoveCommitted:
		return nil
	case s.loose.CommitAfterTakeBack && t.Action == api.ActionCommit && m.Phase == cluster.MoveTakenBack:
		return nil
	case s.loose.HandOverUncompared && t.Action == api.ActionHandOver && m.Phase == cluster.MoveAborted:
		return nil
	case !m.Phase.Follows(after):
		return fmt.Errorf("phase is %s: %w", m.Phase, cluster.ErrConflict)
	case t.Revision != 0 && t.Revision != m.Revision:
		return fmt.Errorf("revision is %d: %w", m.Revision, cluster.ErrConflict)
	case t.Action != api.ActionHandOver:
		return nil
	}
	for _, id := range m.Datasets {
		d := s.now.Datasets[id]
		if d.Owner != m.Source || d.Move != m.ID || t.Released[id] != d.Epoch {
			return fmt.Errorf("dataset %s is not released: %w", id, cluster.ErrConflict)
		}
	}
	return nil
}

func own(d *cluster.Desired, m cluster.Move, owner cluster.NodeID, mark cluster.MoveID) {
	for _, id := range m.Datasets {
		x := d.Datasets[id]
		x.Owner, x.Epoch, x.Move = owner, x.Epoch+1, mark
		d.Datasets[id] = x
	}
	for _, name := range m.Applications {
		x := d.Applications[name]
		x.Node, x.Move = owner, mark
		d.Applications[name] = x
	}
}

func unmark(d *cluster.Desired, m cluster.Move) {
	for _, id := range m.Datasets {
		x := d.Datasets[id]
		x.Move = ""
		d.Datasets[id] = x
	}
	for _, name := range m.Applications {
		x := d.Applications[name]
		x.Move = ""
		d.Applications[name] = x
	}
}

// begin stores a new move of the application where nothing stands in its way.
func (s *store) begin(id cluster.MoveID, name string, to cluster.NodeID) {
	s.write(func(d *cluster.Desired) {
		a := d.Applications[name]
		m := cluster.Move{
			ID: id, Attempt: 1, Phase: cluster.MovePlanned, Mode: cluster.ModeRestart, Source: a.Node, Target: to,
			Datasets: a.DatasetIDs(), Applications: []string{name}, Revision: d.Revision,
		}
		d.Moves[id] = m
		a.Move = id
		d.Applications[name] = a
		for _, x := range m.Datasets {
			set := d.Datasets[x]
			set.Move = id
			d.Datasets[x] = set
		}
	})
}

// cancel asks the source to abort.
func (s *store) cancel(id cluster.MoveID) {
	s.write(func(d *cluster.Desired) {
		m := d.Moves[id]
		m.CancelRequested, m.Revision = true, d.Revision
		d.Moves[id] = m
	})
}

// open starts a node's session; a fence ends with a new boot.
func (s *store) open(id cluster.NodeID, session, boot string) {
	s.write(func(d *cluster.Desired) {
		n := d.Nodes[id]
		n.ID, n.Name, n.Session, n.BootID, n.Protocol = id, string(id), session, boot, cluster.ProtocolVersion
		if n.Fence != nil && n.Fence.BootID != boot {
			n.Fence = nil
		}
		d.Nodes[id] = n
	})
}

func (s *store) expire(id cluster.NodeID) {
	s.write(func(d *cluster.Desired) {
		n := d.Nodes[id]
		n.Session = ""
		d.Nodes[id] = n
	})
}

// report stores what a node observed and what follows from it: a dataset whose owner has a head is born.
func (s *store) report(o cluster.Observed) {
	s.write(func(d *cluster.Desired) {
		fresh := o.Copies
		if o.Storage.Error != "" { // what is out of sight stands as it was
			o.Copies = d.Elsewhere[o.Node].Copies
		}
		d.Elsewhere[o.Node] = o
		for id, c := range fresh {
			if x, ok := d.Datasets[id]; ok && x.Owner == o.Node && c.Head && c.Epoch == x.Epoch {
				x.Born, x.Adopt, x.Eviction = true, "", cluster.Eviction{}
				d.Datasets[id] = forgetGone(x, c)
			}
		}
	})
}

// failOverUnfenced takes the dataset from a node that is not heard, which the storage is to keep out.
func (s *store) failOverUnfenced(name string, to cluster.NodeID, id cluster.DatasetID) {
	s.write(func(d *cluster.Desired) {
		a, x := d.Applications[name], unrolled(d.Datasets[id])
		x.Epoch++
		x.Eviction = cluster.Eviction{Node: x.Owner, Epoch: x.Epoch}
		a.Node, x.Owner = to, to
		d.Applications[name], d.Datasets[id] = a, x
	})
}

// failOver is an operator's fence of a node that is off, with consent to lose what the adopted snapshot lacks.
func (s *store) failOver(name string, to cluster.NodeID, boot string, adopt map[cluster.DatasetID]string) {
	s.write(func(d *cluster.Desired) {
		a := d.Applications[name]
		n := d.Nodes[a.Node]
		n.Session, n.Fence = "", &cluster.Fence{By: "operator", BootID: boot}
		d.Nodes[a.Node] = n
		a.Node = to
		d.Applications[name] = a
		for id, snapshot := range adopt {
			x := unrolled(d.Datasets[id])
			x.Owner, x.Epoch, x.Adopt, x.Eviction = to, x.Epoch+1, snapshot, cluster.Eviction{}
			d.Datasets[id] = x
		}
	})
}
