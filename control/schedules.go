// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// mostSchedules bounds the schedules of one dataset or application.
const mostSchedules = 16

// CreateSchedule has snapshots taken from the next due time on. A request with the id of an earlier one is answered with what that one made.
func (s *Service) CreateSchedule(ctx context.Context, by string, r api.ScheduleRequest) (api.ScheduleInfo, error) {
	x := cluster.Schedule{
		ID: r.ID, Name: firstOf(r.Name, scheduleName(r.Every)), Application: r.Application,
		Every: r.Every, Quiesce: r.Quiesce, Keep: r.Keep, Paused: r.Paused, By: by, Created: s.now(),
	}
	if x.ID == "" {
		x.ID = cluster.ScheduleID(uuid.NewString())
	}
	what := fmt.Sprintf("schedule %s of %s", x.Name, firstOf(r.Dataset, r.Application, "nothing"))
	if (r.Application == "") == (r.Dataset == "") {
		return api.ScheduleInfo{}, fmt.Errorf("%s: either an application or a dataset is to be named: %w", what, cluster.ErrInvalid)
	}
	if err := x.Validate(); err != nil {
		return api.ScheduleInfo{}, fmt.Errorf("%s: %w", what, err)
	}
	x.Done = x.Every.Last(x.Created)
	made := false
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		made = false
		if _, err := store.Get(ctx, tx, scheduleKey(x.ID)); !errors.Is(err, cluster.ErrNotFound) {
			return err
		}
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		if x.Dataset, err = d.schedulable(ctx, r); err != nil {
			return err
		}
		if err := d.roomFor(ctx, x); err != nil {
			return err
		}
		made = true
		return store.Put(tx, scheduleKey(x.ID), x)
	})
	if err != nil {
		return api.ScheduleInfo{}, fmt.Errorf("%s: %w", what, err)
	}
	if made {
		s.log.Info("schedule created", "schedule", x.Name, "id", x.ID, "dataset", x.Dataset, "application", x.Application, "every", x.Every, "by", by)
	}
	return s.scheduleByID(ctx, x.ID)
}

// scheduleName is the name of a schedule that was given none.
func scheduleName(e cluster.Every) string {
	switch e {
	case cluster.Hourly, cluster.Daily, cluster.Weekly, cluster.Monthly:
		return string(e)
	}
	return "every-" + string(e)
}

func scheduleKey(id cluster.ScheduleID) store.Key[cluster.Schedule] {
	return store.Schedules.Under(string(id))
}

// schedulable refuses what can have no snapshots, as far as that is known, and returns the dataset where one is named.
func (d *draft) schedulable(ctx context.Context, r api.ScheduleRequest) (cluster.DatasetID, error) {
	var id cluster.DatasetID
	var sets []cluster.Dataset
	if r.Dataset != "" {
		n, err := d.dataset(r.Dataset)
		if err != nil {
			return "", err
		}
		id, sets = n.ID, []cluster.Dataset{n}
	} else {
		a, err := d.application(r.Application)
		if err != nil {
			return "", err
		}
		if sets, err = d.together(a); err != nil {
			return "", err
		}
	}
	for _, n := range sets {
		storage, _, err := d.stored(ctx, n)
		switch {
		case err != nil:
			return "", err
		case n.Deleted:
			return "", fmt.Errorf("dataset %s is deleted: %w", n.Name, cluster.ErrConflict)
		case storage.Backend != "" && !storage.Capabilities.Snapshots:
			return "", fmt.Errorf("the storage %s of node %s, which owns dataset %s, takes no snapshots: %w",
				storage.Backend, d.nodes[n.Owner].Name, n.Name, cluster.ErrPrecondition)
		}
	}
	return id, nil
}

// roomFor refuses a name that is taken, and a schedule too many.
func (d *draft) roomFor(ctx context.Context, x cluster.Schedule) error {
	all, err := store.List(ctx, d.tx, store.Schedules)
	if err != nil {
		return err
	}
	there := 0
	for _, o := range all {
		if o.Value.Dataset != x.Dataset || o.Value.Application != x.Application {
			continue
		}
		if o.Value.Name == x.Name {
			return fmt.Errorf("there is one with that name, every %s: %w", o.Value.Every, cluster.ErrExists)
		}
		there++
	}
	if there >= mostSchedules {
		return fmt.Errorf("there are %d schedules of it, the most there can be: %w", there, cluster.ErrConflict)
	}
	return nil
}

// ChangeSchedule changes, pauses or resumes a schedule. What was due while it was paused is not made up for.
func (s *Service) ChangeSchedule(ctx context.Context, by string, id cluster.ScheduleID, c api.ScheduleChange) (api.ScheduleInfo, error) {
	var x cluster.Schedule
	rev, err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		if x, err = store.Get(ctx, tx, scheduleKey(id)); err != nil {
			return err
		}
		was := x
		setTo(&x.Every, c.Every)
		setTo(&x.Quiesce, c.Quiesce)
		setTo(&x.Keep, c.Keep)
		setTo(&x.Paused, c.Paused)
		if x == was {
			return nil
		}
		if err := x.Validate(); err != nil {
			return err
		}
		if x.Every != was.Every || x.Paused != was.Paused {
			x.Done, x.Reason = x.Every.Last(s.now()), ""
		}
		return store.Put(tx, scheduleKey(id), x)
	})
	if err != nil {
		return api.ScheduleInfo{}, fmt.Errorf("change schedule %s: %w", firstOf(x.Name, string(id)), err)
	}
	if rev != 0 {
		s.log.Info("schedule changed", "schedule", x.Name, "id", id, "every", x.Every, "paused", x.Paused, "by", by)
	}
	return s.scheduleByID(ctx, id)
}

func setTo[T any](is, to *T) {
	if to != nil {
		*is = *to
	}
}

// DeleteSchedule removes a schedule. The snapshots that it has made stay.
func (s *Service) DeleteSchedule(ctx context.Context, by string, id cluster.ScheduleID) (api.ScheduleInfo, error) {
	info, err := s.scheduleByID(ctx, id)
	if err != nil {
		return info, fmt.Errorf("remove schedule %s: %w", id, err)
	}
	_, err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := store.Get(ctx, tx, scheduleKey(id)); err != nil {
			return err
		}
		store.Delete(tx, scheduleKey(id))
		return nil
	})
	if err != nil {
		return info, fmt.Errorf("remove schedule %s: %w", info.Name, err)
	}
	s.log.Info("schedule removed", "schedule", info.Name, "id", id, "dataset", info.Dataset, "application", info.Application, "by", by)
	return info, nil
}

// dropSchedules removes those of what is deleted.
func (d *draft) dropSchedules(ctx context.Context, of func(cluster.Schedule) bool) error {
	all, err := store.List(ctx, d.tx, store.Schedules)
	for _, x := range all {
		if of(x.Value) {
			store.Delete(d.tx, scheduleKey(x.Value.ID))
		}
	}
	return err
}
