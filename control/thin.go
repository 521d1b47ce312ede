// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"slices"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// thin removes of a dataset what its schedules have made and need not keep. What storage does not have counts for nothing, so that
// the last one that exists stays; what a clone is being made from, and what a rollback names, stays until the next time.
func (s *Service) thin(ctx context.Context, id cluster.DatasetID) error {
	var gone []cluster.KeptSnapshot
	var n cluster.Dataset
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		gone = nil
		var err error
		if n, err = store.Get(ctx, tx, store.Datasets.Under(string(id))); err != nil || n.Deleted || n.Move != "" {
			return ignoreNotFound(err) // after a move it is looked at again
		}
		rules, err := schedulesOf(ctx, tx, n)
		if err != nil || !slices.ContainsFunc(rules, func(x cluster.Schedule) bool { return len(x.Keep.Spare(madeBy(x, n))) > 0 }) {
			return err
		}
		gone, err = s.thinOut(ctx, tx, id, rules)
		return err
	})
	for _, k := range gone {
		if err == nil {
			s.log.Info("scheduled snapshot removed", "schedule", k.Scheduled.Name, "snapshot", k.Name, "id", k.ID, "dataset", id, "name", n.Name)
		}
	}
	return err
}

// schedulesOf are those that have made snapshots of a dataset, are still there and go on.
func schedulesOf(ctx context.Context, tx *store.Tx, n cluster.Dataset) ([]cluster.Schedule, error) {
	var all []cluster.Schedule
	seen := map[cluster.ScheduleID]bool{}
	for _, k := range n.Snapshots {
		if k.Scheduled == nil || seen[k.Scheduled.Schedule] {
			continue
		}
		seen[k.Scheduled.Schedule] = true
		x, err := store.Get(ctx, tx, scheduleKey(k.Scheduled.Schedule))
		if ignoreNotFound(err) != nil {
			return nil, err
		}
		if err == nil && !x.Paused {
			all = append(all, x)
		}
	}
	return all, nil
}

// madeBy are the snapshots of a dataset that a schedule has made, that are taken, and that nobody has removed.
func madeBy(x cluster.Schedule, n cluster.Dataset) []cluster.KeptSnapshot {
	var made []cluster.KeptSnapshot
	for _, k := range n.Snapshots {
		if x.Made(k) && k.Taken != nil && !k.Removed {
			made = append(made, k)
		}
	}
	return made
}

// thinOut removes what the schedules keep no longer of what some node has.
func (s *Service) thinOut(ctx context.Context, tx *store.Tx, id cluster.DatasetID, rules []cluster.Schedule) ([]cluster.KeptSnapshot, error) {
	meta, err := store.Get(ctx, tx, store.MetaKey)
	if err != nil || meta.Unconfirmed {
		return nil, err
	}
	d, err := newDraft(ctx, tx)
	if err != nil {
		return nil, err
	}
	var gone []cluster.KeptSnapshot
	for _, x := range rules {
		spare, err := d.spare(ctx, x, d.datasets[id])
		if err != nil {
			return nil, err
		}
		for _, k := range spare {
			switch _, err := d.letGo(ctx, d.datasets[id], k); {
			case errors.Is(err, cluster.ErrConflict): // something is still to be made of it
			case err != nil:
				return nil, err
			default:
				gone = append(gone, k)
			}
		}
	}
	return gone, nil
}

// spare are a schedule's snapshots that are kept no longer, by what some node has; of those that no node has, by all.
func (d *draft) spare(ctx context.Context, x cluster.Schedule, n cluster.Dataset) ([]cluster.KeptSnapshot, error) {
	var there, spare []cluster.KeptSnapshot
	nowhere := map[cluster.SnapshotID]bool{}
	all := madeBy(x, n)
	for _, k := range all {
		holders, err := d.holders(ctx, n.ID, *k.Taken)
		if err != nil {
			return nil, err
		}
		if len(holders) > 0 {
			there = append(there, k)
		} else {
			nowhere[k.ID] = true
		}
	}
	for _, k := range x.Keep.Spare(all) {
		if nowhere[k.ID] {
			spare = append(spare, k)
		}
	}
	return append(spare, x.Keep.Spare(there)...), nil
}
