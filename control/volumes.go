// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// MoveVolume plans a move of a dataset that no application uses to the node that asks.
func (s *Service) MoveVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Move, error) {
	by := nodeObject(node)
	var m cluster.Move
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		n, err := d.dataset(ref)
		if err != nil {
			return err
		}
		if err := d.noApplication(n.ID); err != nil {
			return err
		}
		m, err = s.startMove(ctx, d, nil, []cluster.DatasetID{n.ID}, d.nodes[node], cluster.Move{By: by})
		return err
	})
	if err != nil {
		return cluster.Move{}, fmt.Errorf("move volume %s: %w", ref, err)
	}
	m.Revision = rev
	s.log.Info("move planned", "move", m.ID, "datasets", m.Datasets, "source", m.Source, "target", m.Target, "by", by)
	return m, nil
}

// HoldVolume leases a dataset that no application uses to the node that asks, for containers that Docker runs there.
func (s *Service) HoldVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Lease, error) {
	return s.hold(ctx, nodeObject(node), ref, func(d *draft, n cluster.Dataset) (cluster.Lease, error) {
		return cluster.Lease{Dataset: n.ID, Node: node, Holder: api.HolderDocker}, d.noApplication(n.ID)
	})
}

// ReleaseVolume ends that lease.
func (s *Service) ReleaseVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Lease, error) {
	return s.letGoOf(ctx, nodeObject(node), ref, func(d *draft, lease cluster.Lease) error {
		if lease.Node != node || lease.Holder != api.HolderDocker {
			return fmt.Errorf("it is held on node %s by %s: %w", d.nodes[lease.Node].Name, lease.Holder, cluster.ErrConflict)
		}
		return nil
	})
}

// DeleteVolume is DeleteDataset for a node, which cancels nobody's move.
func (s *Service) DeleteVolume(ctx context.Context, node cluster.NodeID, ref string) (cluster.Dataset, error) {
	return s.destroy(ctx, nodeObject(node), ref, func(d *draft, n cluster.Dataset) error { return d.idle(ctx, "it", n.Move) })
}

// noApplication refuses to give a node for its own ends what an application uses.
func (d *draft) noApplication(id cluster.DatasetID) error {
	if users := d.users(id); len(users) > 0 {
		return fmt.Errorf("application %s on node %s uses it: %w", users[0].Name, d.nodes[users[0].Node].Name, cluster.ErrConflict)
	}
	return nil
}
