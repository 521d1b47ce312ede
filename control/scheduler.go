// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// scheduleAgain is how long what waits is left alone while nothing changes, and bounds how late a clock that was set is noticed.
const scheduleAgain = time.Minute

// Schedule carries out the snapshot schedules: it asks for snapshots when they are due, and has those removed that are kept no longer. Every control
// process does so. It returns only when ctx ends.
func (s *Service) Schedule(ctx context.Context) error {
	for {
		err := s.schedule(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, cluster.ErrGone) {
			s.log.Warn("carrying out schedules failed; trying again", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// schedule goes round when something is due, and when something has changed that a schedule waits for.
func (s *Service) schedule(ctx context.Context) error {
	at, rev, err := s.newScheduler(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan store.Batch)
	g.Go(func() error {
		return s.store.Watch(ctx, rev+1, func(b store.Batch) error {
			select {
			case batches <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	g.Go(func() error {
		for {
			if err := at.round(ctx); err != nil {
				return err
			}
			if err := at.wait(ctx, batches); err != nil {
				return err
			}
		}
	})
	return g.Wait()
}

// scheduler remembers what to look at, and when; each transaction reads anew.
type scheduler struct {
	service   *Service
	schedules map[cluster.ScheduleID]cluster.Schedule
	made      map[cluster.DatasetID]bool // datasets with snapshots of schedules
	look      map[cluster.DatasetID]bool // those of which something may be kept no longer
	again     bool                       // what a schedule waits for may have happened
}

// newScheduler reads what there is, at the revision that it returns, and has everything looked at.
func (s *Service) newScheduler(ctx context.Context) (*scheduler, cluster.Revision, error) {
	at := &scheduler{
		service: s, schedules: map[cluster.ScheduleID]cluster.Schedule{},
		made: map[cluster.DatasetID]bool{}, look: map[cluster.DatasetID]bool{}, again: true,
	}
	rev, err := s.store.Read(ctx, func(tx *store.Tx) error {
		if err := collect(ctx, tx, store.Schedules, at.schedules); err != nil {
			return err
		}
		sets, err := store.List(ctx, tx, store.Datasets)
		for _, n := range sets {
			at.dataset(n.Value)
		}
		return err
	})
	return at, rev, err
}

func (at *scheduler) dataset(n cluster.Dataset) {
	at.again = true
	if slices.ContainsFunc(n.Snapshots, func(k cluster.KeptSnapshot) bool { return k.Scheduled != nil }) {
		at.made[n.ID], at.look[n.ID] = true, true
	} else {
		delete(at.made, n.ID)
	}
}

// round does what is due. What cannot be asked for is left until something changes, or a while has passed.
func (at *scheduler) round(ctx context.Context) error {
	now := at.service.now()
	for _, id := range sortedKeys(at.schedules) {
		x := at.schedules[id]
		if _, open := x.Due(now); !open || x.Reason != "" && !at.again {
			continue
		}
		x, err := at.service.carryOut(ctx, id)
		if err != nil {
			return err
		}
		if at.schedules[id] = x; x.ID == "" { // removed meanwhile
			delete(at.schedules, id)
		}
	}
	at.again = false
	for _, id := range sortedKeys(at.look) {
		if err := at.service.thin(ctx, id); err != nil {
			return err
		}
		delete(at.look, id)
	}
	return nil
}

// wait takes in changes until there is something to do.
func (at *scheduler) wait(ctx context.Context, batches <-chan store.Batch) error {
	var timer <-chan time.Time
	if d, ok := at.pause(); ok {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case b := <-batches:
		for _, c := range b.Changes {
			if err := at.follow(c); err != nil {
				return err
			}
		}
	case <-timer:
		at.again = true
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// pause is how long nothing is due; false for ever.
func (at *scheduler) pause() (time.Duration, bool) {
	now, wait, running := at.service.now(), scheduleAgain, false
	for _, x := range at.schedules {
		if x.Paused {
			continue
		}
		running = true
		if next := x.Every.Next(now); !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
	}
	return max(wait, 0), running
}

// follow takes in a change.
func (at *scheduler) follow(c store.Change) error {
	collection, name, _ := strings.Cut(c.Key, "/")
	switch collection + "/" {
	case string(store.Schedules):
		return at.followSchedule(cluster.ScheduleID(name), c)
	case string(store.Datasets):
		if c.Deleted() {
			delete(at.made, cluster.DatasetID(name))
			return nil
		}
		n, err := store.Value(c, store.Datasets)
		at.dataset(n)
		return err
	case string(store.Applications), "meta/":
		at.again = true
	case "observed/":
		switch _, part, name, _ := store.ObservedKey(c.Key); {
		case part == "node":
			at.again = true
		case part == "copy" && at.made[cluster.DatasetID(name)]:
			at.look[cluster.DatasetID(name)] = true
		}
	}
	return nil
}

func (at *scheduler) followSchedule(id cluster.ScheduleID, c store.Change) error {
	if c.Deleted() {
		delete(at.schedules, id)
		return nil
	}
	x, err := store.Value(c, store.Schedules)
	if err != nil {
		return err
	}
	if was := at.schedules[id]; was.Keep != x.Keep || was.Paused != x.Paused {
		for n := range at.made {
			at.look[n] = true
		}
	}
	at.schedules[id] = x
	return nil
}
