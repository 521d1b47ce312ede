// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// RollBack asks the owner of a dataset to make it what it was in a snapshot. What it is now is kept in a snapshot of its own.
func (s *Service) RollBack(ctx context.Context, by, ref string, r api.RollbackRequest) (api.RollbackReply, error) {
	var n cluster.Dataset
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		if n, err = d.dataset(ref); err != nil {
			return err
		}
		to, err := findKept(n, r.Snapshot)
		if err != nil || n.Rollback != nil && n.Rollback.To == to.ID {
			return err
		}
		if err := d.mayRollBack(ctx, n, to, r.Stop); err != nil {
			return err
		}
		kept := cluster.KeptSnapshot{
			ID: cluster.SnapshotID(uuid.NewString()), Name: "before-rollback-" + s.now().Format(snapshotTime), By: by, Asked: s.now(),
		}
		if err := d.keep(ctx, n, kept); err != nil {
			return err
		}
		n = d.datasets[n.ID]
		n.Rollback = &cluster.Rollback{To: to.ID, Kept: kept.ID, By: by, Asked: s.now()}
		return d.putDataset(n)
	})
	if err != nil {
		return api.RollbackReply{}, fmt.Errorf("roll dataset %s back to snapshot %s: %w", ref, r.Snapshot, err)
	}
	n.Revision = max(n.Revision, rev)
	s.log.Info("dataset to be rolled back", "dataset", n.ID, "name", n.Name, "snapshot", r.Snapshot, "by", by)
	kept, _ := n.Kept(n.Rollback.Kept)
	return api.RollbackReply{Dataset: n, Kept: api.SnapshotInfo{KeptSnapshot: kept, Dataset: n.ID, DatasetName: n.Name, State: api.SnapshotAsked}}, nil
}

// mayRollBack says what stands in the way.
func (d *draft) mayRollBack(ctx context.Context, n cluster.Dataset, to cluster.KeptSnapshot, stop bool) error {
	switch {
	case n.Rollback != nil:
		return fmt.Errorf("it is being rolled back already, to another snapshot: %w", cluster.ErrConflict)
	case to.Removed:
		return fmt.Errorf("the snapshot is being removed: %w", cluster.ErrConflict)
	case to.Taken == nil:
		return fmt.Errorf("the snapshot is not taken yet: %w", cluster.ErrPrecondition)
	}
	if err := d.idle(ctx, "it", n.Move); err != nil {
		return err
	}
	if err := d.unheld(ctx, n); err != nil {
		return err
	}
	storage, _, err := d.stored(ctx, n)
	if err != nil {
		return err
	}
	if storage.Backend != "" && !storage.Capabilities.Reverts {
		return fmt.Errorf("the storage %s of its owner, node %s, cannot go back to a snapshot%s; clone the snapshot instead: %w", storage.Backend, d.nodes[n.Owner].Name, because(storage), cluster.ErrPrecondition)
	}
	if err := d.onOwner(ctx, n, to); err != nil {
		return err
	}
	if users := d.users(n.ID); len(users) > 0 && !stop {
		var names []string
		for _, a := range users {
			names = append(names, a.Name)
		}
		return fmt.Errorf("%s would be stopped for it and started again; say that this may be: %w", strings.Join(names, ", "), cluster.ErrConflict)
	}
	return nil
}

// onOwner refuses a snapshot that the dataset's owner does not have, and says where it is.
func (d *draft) onOwner(ctx context.Context, n cluster.Dataset, k cluster.KeptSnapshot) error {
	holders, err := d.holders(ctx, n.ID, *k.Taken)
	if err != nil || slices.Contains(holders, n.Owner) {
		return err
	}
	var others []string
	for _, id := range holders {
		others = append(others, d.nodes[id].Name)
	}
	remedy := "no node reports that it has it"
	if len(others) > 0 {
		remedy = "it is on " + strings.Join(others, ", ") + "; move the dataset there first"
	}
	return fmt.Errorf("snapshot %s is not on node %s, which owns the dataset; %s: %w", k.Name, d.nodes[n.Owner].Name, remedy, cluster.ErrPrecondition)
}

// noteRolledBack ends a rollback: from now on the dataset is used again.
func noteRolledBack(ctx context.Context, sets *records, node cluster.NodeID, b api.RolledBack) error {
	n, err := sets.get(ctx, b.Dataset)
	switch {
	case err != nil:
		return err
	case n.Rollback == nil || n.Rollback.Kept != b.Kept:
		return nil // the answer to the first report was lost
	case n.Owner != node:
		return fmt.Errorf("the dataset is node %s's: %w", n.Owner, cluster.ErrConflict)
	}
	n.Rollback = nil
	return sets.put(n)
}

// withoutRollback is a dataset that its owner cannot roll back any more, as another node takes it over.
func withoutRollback(n cluster.Dataset) cluster.Dataset {
	if n.Rollback == nil {
		return n
	}
	kept := n.Rollback.Kept
	n.Rollback = nil
	return n.WithoutSnapshots(func(k cluster.KeptSnapshot) bool { return k.ID == kept && k.Taken == nil })
}
