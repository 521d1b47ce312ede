// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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

// FailOver gives the datasets of a fenced node to one with replicas, or with the network storage that they are on. What was
// written after a replica was taken is lost: the request consents to how much. Where that storage itself can keep a node out,
// one that is not heard needs no fence: its successor takes the volumes from it before it uses them.
func (s *Service) FailOver(ctx context.Context, by string, r api.FailOverRequest) (api.FailOverReply, error) {
	var reply api.FailOverReply
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		reply = api.FailOverReply{Datasets: map[cluster.DatasetID]api.FailedOverCopy{}}
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		apps, sets, err := d.group(r.Application, r.Dataset)
		if err != nil {
			return err
		}
		to, err := d.node(r.Node)
		if err != nil {
			return err
		}
		from, err := d.movable(ctx, apps, sets)
		if err != nil {
			return err
		}
		reply.Node = to.ID
		if err := d.mayFailOver(ctx, from, to, sets); err != nil {
			return err
		}
		for _, id := range sets {
			if reply.Datasets[id], err = s.takeOver(ctx, d, id, to, by, r.MaxLoss); err != nil {
				return err
			}
		}
		for _, name := range apps {
			a := d.applications[name]
			a.Node = to.ID
			if err := d.putApplication(a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return api.FailOverReply{}, fmt.Errorf("fail over %s: %w", firstOf(r.Application, r.Dataset, "nothing"), err)
	}
	for _, id := range slices.Sorted(maps.Keys(reply.Datasets)) {
		c := reply.Datasets[id]
		s.log.Warn("dataset failed over", "dataset", id, "node", reply.Node, "snapshot", c.Snapshot, "epoch", c.Epoch, "loss", c.Loss, "max_loss", r.MaxLoss, "by", by)
	}
	return reply, nil
}

func (d *draft) mayFailOver(ctx context.Context, from cluster.NodeID, to cluster.Node, sets []cluster.DatasetID) error {
	owner := d.nodes[from]
	_, alive := d.sessions[from]
	evicts, err := d.evicts(ctx, owner, to, sets)
	switch {
	case err != nil:
		return err
	case from == to.ID:
		return fmt.Errorf("it is on node %s already: %w", to.Name, cluster.ErrExists)
	case alive:
		return fmt.Errorf("node %s, where it is, is alive; move it instead: %w", owner.Name, cluster.ErrConflict)
	case !fenced(owner) && !evicts:
		return fmt.Errorf("node %s, where it is, is not known to be off; switch it off and fence it first: %w", owner.Name, cluster.ErrPrecondition)
	}
	return nil
}

// fenced says whether somebody proved that a node is off, in its boot of now.
func fenced(n cluster.Node) bool { return n.Fence != nil && n.Fence.BootID == n.BootID }

// evicts says whether both nodes have the datasets' network storage, and all of it can itself keep one of them out. What the old
// owner has is known from when it was last heard.
func (d *draft) evicts(ctx context.Context, from, to cluster.Node, sets []cluster.DatasetID) (bool, error) {
	var seen [2]cluster.Observed
	for i, n := range []cluster.Node{from, to} {
		var err error
		if seen[i], err = store.Get(ctx, d.tx, store.ObservedNode(n.ID)); ignoreNotFound(err) != nil {
			return false, err
		}
	}
	for _, id := range sets {
		end := d.datasets[id].Backend
		old, next := seen[0].Back(end), seen[1].Back(end)
		for _, can := range []cluster.Capabilities{old.Capabilities, next.Capabilities} {
			if !can.Attaches || !can.Fences {
				return false, nil
			}
		}
		if old.Driver() != next.Driver() {
			return false, nil
		}
	}
	return len(sets) > 0, nil
}

// takeOver makes a replica's newest snapshot the dataset.
func (s *Service) takeOver(ctx context.Context, d *draft, id cluster.DatasetID, to cluster.Node, by string, consent cluster.Duration) (api.FailedOverCopy, error) {
	n := withoutRollback(d.datasets[id])
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(to.ID))
	if ignoreNotFound(err) != nil {
		return api.FailedOverCopy{}, err
	}
	last, _, err := d.stored(ctx, n)
	if err != nil {
		return api.FailedOverCopy{}, err
	}
	switch storage := seen.Back(n.Backend); {
	case storage.Error != "":
		return api.FailedOverCopy{}, fmt.Errorf("dataset %s: node %s: %s: %w", n.Name, to.Name, storage.Error, cluster.ErrPrecondition)
	case last.Backend != "" && storage.Driver() != last.Driver():
		return api.FailedOverCopy{}, fmt.Errorf("dataset %s: it is in %s, and the back end %s of node %s is %s: %w",
			n.Name, last.Driver(), storage.Backend, to.Name, storage.Driver(), cluster.ErrPrecondition)
	case storage.Capabilities.Attaches:
		return s.takeVolumeOver(d, n, to, by)
	}
	c, err := store.Get(ctx, d.tx, store.Copies(to.ID).Under(string(id)))
	if ignoreNotFound(err) != nil {
		return api.FailedOverCopy{}, err
	}
	if len(c.Snapshots) == 0 {
		return api.FailedOverCopy{}, fmt.Errorf("dataset %s: node %s has no replica of it: %w", n.Name, to.Name, cluster.ErrPrecondition)
	}
	if c.Head {
		return api.FailedOverCopy{}, fmt.Errorf("dataset %s: node %s still has the head of an earlier epoch; see its status: %w", n.Name, to.Name, cluster.ErrConflict)
	}
	newest, owner := slices.MaxFunc(c.Snapshots, olderThan), d.nodes[n.Owner]
	// The owner may have gone on writing, unheard by us, until it was switched off.
	loss := cluster.Duration(max(0, owner.Fence.At.Sub(newest.Created)))
	if loss > consent {
		return api.FailedOverCopy{}, fmt.Errorf("dataset %s: the replica on node %s lacks the last %s before node %s was fenced; consent with max_loss: %w",
			n.Name, to.Name, loss, owner.Name, cluster.ErrPrecondition)
	}
	n.Owner, n.Epoch, n.Adopt = to.ID, n.Epoch+1, newest.Name
	record := store.FailOver{Dataset: id, From: owner.ID, To: to.ID, Epoch: n.Epoch, Snapshot: newest.Name, Loss: loss, Consent: consent, By: by, At: s.now()}
	if err := store.Put(d.tx, store.FailOvers(id).Under(fmt.Sprintf("%020d", n.Epoch)), record); err != nil {
		return api.FailedOverCopy{}, err
	}
	return api.FailedOverCopy{Snapshot: newest.Name, Epoch: n.Epoch, Loss: loss}, d.putDataset(n)
}

// takeVolumeOver gives a volume of network storage to another node, which takes it from the fenced one. Nothing is lost.
func (s *Service) takeVolumeOver(d *draft, n cluster.Dataset, to cluster.Node, by string) (api.FailedOverCopy, error) {
	from := n.Owner
	sure := fenced(d.nodes[from])
	if !sure && n.Eviction != (cluster.Eviction{}) { // who really has the volume is the node before
		return api.FailedOverCopy{}, fmt.Errorf("dataset %s: node %s has not taken it from node %s yet; if both are off, fence both first: %w",
			n.Name, d.nodes[from].Name, d.nodes[n.Eviction.Node].Name, cluster.ErrPrecondition)
	}
	n.Owner, n.Epoch, n.Eviction = to.ID, n.Epoch+1, cluster.Eviction{}
	if !sure {
		n.Eviction = cluster.Eviction{Node: from, Epoch: n.Epoch}
	}
	record := store.FailOver{Dataset: n.ID, From: from, To: to.ID, Epoch: n.Epoch, By: by, At: s.now()}
	if err := store.Put(d.tx, store.FailOvers(n.ID).Under(fmt.Sprintf("%020d", n.Epoch)), record); err != nil {
		return api.FailedOverCopy{}, err
	}
	return api.FailedOverCopy{Epoch: n.Epoch}, d.putDataset(n)
}

func olderThan(a, b cluster.Snapshot) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Serial, b.Serial))
}
