// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// dueTime is how the time is written in the names of scheduled snapshots.
const dueTime = "20060102-150405"

// carryOut asks for the snapshot that a schedule has due, if there is one, and returns the schedule as it is then. That it is asked
// for and that the due time is done is one transaction, so that several control processes ask once.
func (s *Service) carryOut(ctx context.Context, id cluster.ScheduleID) (cluster.Schedule, error) {
	now := s.now()
	var x cluster.Schedule
	var count int
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		count = 0
		d, due, err := s.dueNow(ctx, tx, id, now, &x)
		if err != nil || d == nil {
			return err
		}
		if count, err = d.takeDue(ctx, x, due, now); err != nil {
			return err
		}
		x.Done, x.Reason, x.Since = due, "", time.Time{}
		if count > 0 {
			x.Asked = due
		}
		return store.Put(tx, scheduleKey(id), x)
	})
	switch {
	case err == nil && count > 0:
		s.log.Info("scheduled snapshot asked for", "schedule", x.Name, "id", id, "dataset", x.Dataset, "application", x.Application, "due", x.Done)
		return x, nil
	case err == nil || ctx.Err() != nil || errors.Is(err, cluster.ErrUnavailable):
		return x, err
	}
	return s.noteWaiting(ctx, id, now, reasonOf(err))
}

// dueNow reads a schedule into x, and begins a draft where something of it is due.
func (s *Service) dueNow(ctx context.Context, tx *store.Tx, id cluster.ScheduleID, now time.Time, x *cluster.Schedule) (*draft, time.Time, error) {
	meta, err := store.Get(ctx, tx, store.MetaKey)
	if err != nil {
		return nil, time.Time{}, err
	}
	*x, err = store.Get(ctx, tx, scheduleKey(id))
	if err != nil {
		return nil, time.Time{}, ignoreNotFound(err) // removed meanwhile
	}
	due, open := x.Due(now)
	if !open || meta.Unconfirmed {
		return nil, due, nil
	}
	d, err := newDraft(ctx, tx)
	return d, due, err
}

// takeDue asks the owners for a schedule's snapshots, and returns how many it asked for. One that is asked for and not taken yet answers for this time too.
func (d *draft) takeDue(ctx context.Context, x cluster.Schedule, due, now time.Time) (int, error) {
	id := scheduledID(x.ID, due)
	r := api.SnapshotRequest{ID: id, Dataset: string(x.Dataset), Application: x.Application, Name: x.Name + "-" + due.Format(dueTime), Quiesce: x.Quiesce}
	sets, err := d.snapshotted(ctx, r)
	if err != nil {
		return 0, err
	}
	if moved, err := d.moveOn(sets, x, due); moved || err != nil {
		return 0, err
	}
	for _, n := range sets {
		if slices.ContainsFunc(n.Snapshots, asked(id)) {
			return 0, nil
		}
		if slices.ContainsFunc(n.Snapshots, called(r.Name)) { // another schedule's, or a user's
			r.Name += "-" + string(id)[:8]
		}
	}
	for _, n := range sets {
		k := cluster.KeptSnapshot{
			ID: id, Name: r.Name, By: "schedule " + x.Name, Asked: now, Quiesce: x.Quiesce,
			Scheduled: &cluster.Scheduled{Schedule: x.ID, Name: x.Name, Due: due},
		}
		if x.Application != "" {
			k.ID, k.Application, k.Group = memberID(id, n.ID), x.Application, string(id)
		}
		if err := d.keep(ctx, n, k); err != nil {
			return 0, fmt.Errorf("dataset %s: %w", n.Name, err)
		}
	}
	return len(sets), nil
}

// moveOn has a schedule's snapshots that are still to be taken answer for a later time; false where there are none.
func (d *draft) moveOn(sets []cluster.Dataset, x cluster.Schedule, due time.Time) (bool, error) {
	found := false
	for _, n := range sets {
		for _, k := range n.Snapshots {
			if !x.Made(k) || k.Taken != nil || k.Removed {
				continue
			}
			found = true
			later := *k.Scheduled
			later.Due = due
			k.Scheduled = &later
			n = n.WithSnapshot(k)
			if err := d.putDataset(n); err != nil {
				return true, err
			}
		}
	}
	return found, nil
}

// scheduledID is that of a schedule's snapshot, or group of them, of one due time: whoever asks for it, it is the same one.
func scheduledID(id cluster.ScheduleID, due time.Time) cluster.SnapshotID {
	return cluster.SnapshotID(uuid.NewSHA1(namespace, []byte(string(id)+" "+due.UTC().Format(time.RFC3339))).String())
}

// memberID is that of one dataset's snapshot in a group.
func memberID(group cluster.SnapshotID, of cluster.DatasetID) cluster.SnapshotID {
	return cluster.SnapshotID(uuid.NewSHA1(namespace, []byte(string(group)+" "+string(of))).String())
}

// namespace keeps UUIDs that are derived here apart from those that others derive of the same text.
var namespace = uuid.MustParse("6d0b4a5e-0c53-4f0e-9d5c-5c1f6f0e7a51")

// reasonOf is an error's text without the sentinel at its end, which says to programs what the rest says to people.
func reasonOf(err error) string {
	text := err.Error()
	for _, sentinel := range []error{cluster.ErrConflict, cluster.ErrPrecondition, cluster.ErrExists, cluster.ErrInvalid} {
		text = strings.TrimSuffix(text, ": "+sentinel.Error())
	}
	return text
}

// noteWaiting keeps with a schedule why what is due cannot be asked for.
func (s *Service) noteWaiting(ctx context.Context, id cluster.ScheduleID, now time.Time, reason string) (cluster.Schedule, error) {
	var x cluster.Schedule
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, _, err := s.dueNow(ctx, tx, id, now, &x)
		if err != nil || d == nil || x.Reason == reason {
			return err
		}
		if x.Reason == "" {
			x.Since = now
		}
		x.Reason = reason
		return store.Put(tx, scheduleKey(id), x)
	})
	if err == nil && rev != 0 {
		s.log.Warn("scheduled snapshot waits", "schedule", x.Name, "id", id, "dataset", x.Dataset, "application", x.Application, "reason", reason)
	}
	return x, err
}
