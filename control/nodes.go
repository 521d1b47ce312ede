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

// FenceNode takes an operator's word that a node is off. What is moving from or to it and can be decided without
// it, is: a move before its hand-over is aborted, one that waits for a fenced target is taken back.
func (s *Service) FenceNode(ctx context.Context, by, ref string, r api.FenceRequest) (api.FenceReply, error) {
	var reply api.FenceReply
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		reply = api.FenceReply{}
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		n, err := d.node(ref)
		if err != nil {
			return err
		}
		if !r.IsOff {
			return &cluster.FieldError{Field: "is_off", Problem: "must say that the node is off: fencing a node that still runs can lose data"}
		}
		if session, alive := d.sessions[n.ID]; alive {
			return fmt.Errorf("it is alive (session %s): switch it off first; a node that was just switched off counts as alive for %s: %w",
				session.ID, SessionTTL, cluster.ErrConflict)
		}
		n.Fence = &cluster.Fence{By: "operator " + by, BootID: n.BootID, At: s.now()}
		if err := store.Put(tx, store.Nodes.Under(string(n.ID)), n); err != nil {
			return err
		}
		reply.Node = n
		reply.Moves, err = s.settle(ctx, tx, n.ID, "node "+n.Name+" was fenced by "+by)
		return err
	})
	if err != nil {
		return api.FenceReply{}, fmt.Errorf("fence node %s: %w", ref, err)
	}
	for i := range reply.Moves {
		reply.Moves[i].Revision = rev
	}
	s.log.Warn("node fenced", "node", reply.Node.ID, "name", reply.Node.Name, "by", by, "moves_ended", len(reply.Moves))
	return reply, nil
}

// settle decides the moves that cannot go on without a node that is off.
func (s *Service) settle(ctx context.Context, tx *store.Tx, off cluster.NodeID, reason string) ([]cluster.Move, error) {
	all, err := store.List(ctx, tx, store.Moves)
	if err != nil {
		return nil, err
	}
	var settled []cluster.Move
	for _, r := range all {
		m := r.Value
		var to cluster.MovePhase
		switch {
		case m.Source == off && m.Phase.BeforeHandOver():
			to = cluster.MoveAborted
		case m.Target == off && m.Phase == cluster.MoveHandedOver:
			to = cluster.MoveTakenBack
		case (m.Source == off || m.Target == off) && m.Phase == cluster.MoveCommitted:
			to = cluster.MoveCleaned
		default:
			continue
		}
		if err := s.enter(ctx, tx, &m, to, api.MoveTransition{Reason: reason}); err != nil {
			return nil, fmt.Errorf("move %s: %w", m.ID, err)
		}
		if err := store.Put(tx, store.Moves.Under(string(m.ID)), m); err != nil {
			return nil, err
		}
		settled = append(settled, m)
	}
	return settled, nil
}

// ForgetNode removes a node that owns nothing and runs nothing, with all that it was seen to have.
func (s *Service) ForgetNode(ctx context.Context, by, ref string) error {
	var objects []string
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		n, err := d.node(ref)
		if err != nil {
			return err
		}
		if err := errors.Join(d.mayForget(n), d.lastWith(ctx, n)); err != nil {
			return err
		}
		if err := forgetObserved(ctx, tx, n.ID); err != nil {
			return err
		}
		store.Delete(tx, store.Nodes.Under(string(n.ID)))
		if err := store.Release(ctx, tx, n.ClusterAddress, store.NodeHolder(n.ID)); err != nil {
			return err
		}
		doomed, err := store.List(ctx, tx, store.Doomed)
		objects = nil
		for _, r := range doomed {
			objects = append(objects, r.Name)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("forget node %s: %w", ref, err)
	}
	s.log.Warn("node forgotten", "node", ref, "by", by)
	for _, object := range objects { // what only waited for this node
		if err := s.reapOne(ctx, object, ""); err != nil {
			return fmt.Errorf("forget node %s: %s: %w", ref, object, err)
		}
	}
	return nil
}

func (d *draft) mayForget(n cluster.Node) error {
	if _, alive := d.sessions[n.ID]; alive {
		return fmt.Errorf("it is alive; stop its agent first: %w", cluster.ErrConflict)
	}
	for _, id := range sortedKeys(d.datasets) {
		if a := d.datasets[id]; a.Owner == n.ID && !a.Deleted {
			return fmt.Errorf("it owns dataset %s; fence it and fail over, or delete the dataset: %w", a.Name, cluster.ErrConflict)
		}
	}
	for _, name := range sortedKeys(d.applications) {
		if a := d.applications[name]; a.Node == n.ID && !a.Deleted {
			return fmt.Errorf("application %s belongs there; fence it and fail over, or delete the application: %w", name, cluster.ErrConflict)
		}
	}
	return nil
}

// lastWith refuses to forget a node that has the only copy of a snapshot that somebody asked to keep.
func (d *draft) lastWith(ctx context.Context, n cluster.Node) error {
	for _, id := range sortedKeys(d.datasets) {
		set := d.datasets[id]
		for _, k := range set.Snapshots {
			if k.Taken == nil || k.Removed || set.Deleted {
				continue
			}
			if storage, _, err := d.stored(ctx, set); err != nil {
				return err
			} else if storage.Capabilities.Attaches {
				break // they are in its store, whatever node says so
			}
			holders, err := d.holders(ctx, id, *k.Taken)
			if err != nil {
				return err
			}
			if len(holders) == 1 && holders[0] == n.ID {
				return fmt.Errorf("it is the only one with snapshot %s of dataset %s; remove the snapshot first, or bring the node back: %w", k.Name, set.Name, cluster.ErrConflict)
			}
		}
	}
	return nil
}

// holders are the nodes that have a snapshot, as they last reported.
func (d *draft) holders(ctx context.Context, id cluster.DatasetID, s cluster.Snapshot) ([]cluster.NodeID, error) {
	var all []cluster.NodeID
	for _, n := range sortedKeys(d.nodes) {
		c, err := store.Get(ctx, d.tx, store.Copies(n).Under(string(id)))
		if ignoreNotFound(err) != nil {
			return nil, err
		}
		if err == nil && c.Held(s) {
			all = append(all, n)
		}
	}
	return all, nil
}

func forgetObserved(ctx context.Context, tx *store.Tx, id cluster.NodeID) error {
	store.Delete(tx, store.ObservedNode(id))
	if err := deleteAll(ctx, tx, store.Copies(id)); err != nil {
		return err
	}
	if err := deleteAll(ctx, tx, store.Containers(id)); err != nil {
		return err
	}
	return deleteAll(ctx, tx, store.Statuses(id))
}

func deleteAll[T any](ctx context.Context, tx *store.Tx, k store.Key[T]) error {
	records, err := store.List(ctx, tx, k)
	for _, r := range records {
		store.Delete(tx, k.Under(r.Name))
	}
	return err
}
