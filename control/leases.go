// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// maxHolder bounds the name of a lease's holder, in bytes.
const maxHolder = 255

// ListLeases shows every lease, by dataset.
func (s *Service) ListLeases(ctx context.Context) ([]cluster.Lease, error) {
	leases := []cluster.Lease{}
	_, err := s.store.Read(ctx, func(tx *store.Tx) error {
		records, err := store.List(ctx, tx, store.Leases)
		for _, r := range records {
			leases = append(leases, r.Value)
		}
		return err
	})
	return leases, err
}

// AcquireLease holds a dataset on the node that owns it, until it is let go of.
func (s *Service) AcquireLease(ctx context.Context, by string, r api.LeaseRequest) (cluster.Lease, error) {
	switch {
	case r.Holder == "" || len(r.Holder) > maxHolder:
		return cluster.Lease{}, &cluster.FieldError{Field: "holder", Problem: fmt.Sprintf("needs from 1 to %d bytes", maxHolder)}
	case r.Holder == api.HolderDocker:
		return cluster.Lease{}, &cluster.FieldError{Field: "holder", Problem: fmt.Sprintf("%s stands for what nodes hold themselves; take another name", r.Holder)}
	}
	return s.hold(ctx, by, r.Dataset, func(d *draft, n cluster.Dataset) (cluster.Lease, error) {
		node, err := d.node(r.Node)
		return cluster.Lease{Dataset: n.ID, Node: node.ID, Holder: r.Holder}, err
	})
}

// hold stores the lease that is wanted, if nothing stands in its way.
func (s *Service) hold(ctx context.Context, by, ref string, wanted func(*draft, cluster.Dataset) (cluster.Lease, error)) (cluster.Lease, error) {
	var lease cluster.Lease
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		n, err := d.dataset(ref)
		if err != nil {
			return err
		}
		if lease, err = wanted(d, n); err != nil {
			return err
		}
		if there, held := d.leases[n.ID]; held && there.Node == lease.Node && there.Holder == lease.Holder {
			lease = there
			return nil
		}
		if err := d.mayHold(ctx, n, lease.Node); err != nil {
			return err
		}
		return store.Put(tx, store.Leases.Under(string(n.ID)), lease)
	})
	if err != nil {
		return cluster.Lease{}, fmt.Errorf("lease dataset %s: %w", ref, err)
	}
	if rev > 0 {
		lease.Revision = rev
		s.log.Info("dataset leased", "dataset", lease.Dataset, "node", lease.Node, "holder", lease.Holder, "by", by)
	}
	return lease, nil
}

// mayHold says what stands in the way of a new lease of a dataset on a node.
func (d *draft) mayHold(ctx context.Context, n cluster.Dataset, node cluster.NodeID) error {
	switch {
	case n.Deleted:
		return fmt.Errorf("it is deleted: %w", cluster.ErrConflict)
	case n.Rollback != nil:
		return fmt.Errorf("it is being rolled back; try again: %w", cluster.ErrConflict)
	case fenced(d.nodes[node]):
		return fmt.Errorf("node %s is fenced: %w", d.nodes[node].Name, cluster.ErrPrecondition)
	}
	if err := d.unheld(ctx, n); err != nil {
		return err
	}
	if err := d.idle(ctx, "it", n.Move); err != nil {
		return err
	}
	if n.Owner != node {
		return fmt.Errorf("it is on node %s, not on node %s; move it there first: %w", d.nodes[n.Owner].Name, d.nodes[node].Name, cluster.ErrPrecondition)
	}
	return nil
}

// unheld refuses what a lease of the dataset stands in the way of: it names where and by whom the dataset is held.
func (d *draft) unheld(ctx context.Context, n cluster.Dataset) error {
	lease, held := d.leases[n.ID]
	if !held {
		return nil
	}
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(lease.Node))
	if ignoreNotFound(err) != nil {
		return err
	}
	who := lease.Holder
	if user := seen.Foreign[n.ID]; user != "" {
		who = fmt.Sprintf("container %s (%s)", user, lease.Holder)
	}
	return fmt.Errorf("dataset %s is in use on node %s by %s: %w", n.Name, d.nodes[lease.Node].Name, who, cluster.ErrConflict)
}

// ReleaseLease lets go of a dataset, whoever holds it. Where nobody does, that is success.
func (s *Service) ReleaseLease(ctx context.Context, by, ref string) (cluster.Lease, error) {
	return s.letGoOf(ctx, by, ref, func(*draft, cluster.Lease) error { return nil })
}

func (s *Service) letGoOf(ctx context.Context, by, ref string, may func(*draft, cluster.Lease) error) (cluster.Lease, error) {
	var lease cluster.Lease
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		n, err := d.dataset(ref)
		if err != nil {
			return err
		}
		held := false
		if lease, held = d.leases[n.ID]; !held {
			lease = cluster.Lease{Dataset: n.ID}
			return nil
		}
		if err := may(d, lease); err != nil {
			return err
		}
		store.Delete(tx, store.Leases.Under(string(n.ID)))
		return nil
	})
	if err != nil {
		return cluster.Lease{}, fmt.Errorf("release dataset %s: %w", ref, err)
	}
	if rev > 0 {
		lease.Revision = rev
		s.log.Info("dataset released", "dataset", lease.Dataset, "node", lease.Node, "holder", lease.Holder, "by", by)
	}
	return lease, nil
}
