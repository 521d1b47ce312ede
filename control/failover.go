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

// FailOver gives the datasets of a fenced node to one with replicas, or with the network storage that they are on. What was
// written after a replica was taken is lost: the request consents to how much. A node that is not heard needs no fence where that
// storage itself can keep it out, as its successor takes the volumes from it before it uses them; nor where the applications are ones
// that its kernel has by now kept from being heard, see Renew.
func (s *Service) FailOver(ctx context.Context, by string, r api.FailOverRequest) (api.FailOverReply, error) {
	return s.failOver(ctx, by, r, false)
}

// failOver does it; unasked, only for applications that all ask for it themselves.
func (s *Service) failOver(ctx context.Context, by string, r api.FailOverRequest, unasked bool) (api.FailOverReply, error) {
	var reply api.FailOverReply
	var apps []string
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		reply = api.FailOverReply{Datasets: map[cluster.DatasetID]api.FailedOverCopy{}}
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		var sets []cluster.DatasetID
		if apps, sets, err = d.group(r.Application, r.Dataset); err != nil {
			return err
		}
		if unasked {
			if err := d.allAsk(ctx, apps); err != nil {
				return err
			}
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
		if err := d.mayFailOver(ctx, from, to, apps, sets); err != nil {
			return err
		}
		for _, id := range sets {
			if err := d.endLease(ctx, d.datasets[id]); err != nil {
				return err
			}
			if reply.Datasets[id], err = s.takeOver(ctx, d, id, to, by, r.MaxLoss); err != nil {
				return err
			}
		}
		for _, name := range apps {
			a := d.applications[name]
			a.Node, a.Former = to.ID, left(a, d.nodes[from], to.ID)
			if err := d.putApplication(a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return api.FailOverReply{}, fmt.Errorf("fail over %s: %w", firstOf(r.Application, r.Dataset, "nothing"), err)
	}
	for _, name := range apps {
		s.log.Warn("application failed over", "application", name, "node", reply.Node, "by", by)
	}
	for _, id := range slices.Sorted(maps.Keys(reply.Datasets)) {
		c := reply.Datasets[id]
		s.log.Warn("dataset failed over", "dataset", id, "node", reply.Node, "snapshot", c.Snapshot, "epoch", c.Epoch, "loss", c.Loss, "max_loss", r.MaxLoss, "by", by)
	}
	return reply, nil
}

// endLease lets go of a dataset whose holder's node is known to be off; without that, who holds it may be writing.
func (d *draft) endLease(ctx context.Context, n cluster.Dataset) error {
	if !fenced(d.nodes[n.Owner]) {
		return d.unheld(ctx, n)
	}
	if _, held := d.leases[n.ID]; held {
		store.Delete(d.tx, store.Leases.Under(string(n.ID)))
	}
	return nil
}

// allAsk refuses to take over by itself what does not ask for it, and anything in a store that nobody has confirmed.
func (d *draft) allAsk(ctx context.Context, apps []string) error {
	meta, err := store.Get(ctx, d.tx, store.MetaKey)
	if err != nil {
		return err
	}
	if meta.Unconfirmed {
		return fmt.Errorf("the state was restored, and nobody has confirmed that: %w", cluster.ErrPrecondition)
	}
	for _, name := range apps {
		if d.applications[name].FailOver == nil {
			return fmt.Errorf("application %s shares its data and does not ask for fail-over: %w", name, cluster.ErrPrecondition)
		}
	}
	return nil
}

func (d *draft) mayFailOver(ctx context.Context, from cluster.NodeID, to cluster.Node, apps []string, sets []cluster.DatasetID) error {
	owner := d.nodes[from]
	_, alive := d.sessions[from]
	shutOut, err := d.shutOut(ctx, owner, to, apps, sets)
	switch {
	case err != nil:
		return err
	case from == to.ID:
		return fmt.Errorf("it is on node %s already: %w", to.Name, cluster.ErrExists)
	case alive:
		return fmt.Errorf("node %s, where it is, is alive; move it instead: %w", owner.Name, cluster.ErrConflict)
	case !fenced(owner) && !shutOut:
		return fmt.Errorf("node %s, where it is, is not known to be off; switch it off and fence it first: %w", owner.Name, cluster.ErrPrecondition)
	}
	return nil
}

// fenced says whether somebody proved that a node is off, in its boot of now.
func fenced(n cluster.Node) bool { return n.Fence != nil && n.Fence.BootID == n.BootID }

// shutOut says whether a node without a session can do no harm any more, although nobody knows whether it is off: all network storage that
// is taken from it can itself keep one of the two nodes out, and for everything else its kernel has by now kept the applications from being
// heard. What it has is known from when it was last heard.
func (d *draft) shutOut(ctx context.Context, from, to cluster.Node, apps []string, sets []cluster.DatasetID) (bool, error) {
	old, err1 := store.Get(ctx, d.tx, store.ObservedNode(from.ID))
	next, err2 := store.Get(ctx, d.tx, store.ObservedNode(to.ID))
	if err := errors.Join(ignoreNotFound(err1), ignoreNotFound(err2)); err != nil {
		return false, err
	}
	volumes := 0
	for _, id := range sets {
		a, b := old.Back(d.datasets[id].Backend), next.Back(d.datasets[id].Backend)
		switch {
		case a.Capabilities.Attaches != b.Capabilities.Attaches:
			return false, nil
		case !a.Capabilities.Attaches:
			continue
		case !a.Capabilities.Fences || !b.Capabilities.Fences || a.Driver() != b.Driver():
			return false, nil // what its kernel lets nobody hear it could still write
		}
		volumes++
	}
	return volumes > 0 && volumes == len(sets) || d.silenced(old, from, apps), nil
}

// silenced says whether the applications, of which there is one, were all ones that the node confined when it was last heard, in its present
// boot. Without a session their time has passed.
func (d *draft) silenced(seen cluster.Observed, owner cluster.Node, apps []string) bool {
	for _, name := range apps {
		if d.applications[name].FailOver == nil || !slices.Contains(seen.Confined, name) {
			return false
		}
	}
	return len(apps) > 0 && seen.BootID == owner.BootID
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
	// The owner may have gone on writing, unheard by us, until it was switched off, or its kernel kept its applications from being heard.
	until := s.now()
	if fenced(owner) {
		until = owner.Fence.At
	}
	loss := cluster.Duration(max(0, until.Sub(newest.Created)))
	if loss > consent {
		return api.FailedOverCopy{}, fmt.Errorf("dataset %s: the replica on node %s lacks the last %s of node %s; consent with max_loss: %w",
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
