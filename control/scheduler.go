// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// scheduler carries out the snapshot schedules: it asks for snapshots when they are due, and has those removed that are kept no longer.
type scheduler struct {
	service   *Service
	schedules map[cluster.ScheduleID]cluster.Schedule
	made      map[cluster.DatasetID]bool // datasets with snapshots of schedules
	look      map[cluster.DatasetID]bool // those of which something may be kept no longer
	again     bool                       // what a schedule waits for may have happened
}

func (at *scheduler) read(ctx context.Context, tx *store.Tx) error {
	at.schedules, at.made, at.look = map[cluster.ScheduleID]cluster.Schedule{}, map[cluster.DatasetID]bool{}, map[cluster.DatasetID]bool{}
	if err := collect(ctx, tx, store.Schedules, at.schedules); err != nil {
		return err
	}
	sets, err := store.List(ctx, tx, store.Datasets)
	for _, n := range sets {
		at.dataset(n.Value)
	}
	at.again = true
	return err
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

func (at *scheduler) elapsed() { at.again = true }

// pause is how long nothing is due; false for ever.
func (at *scheduler) pause() (time.Duration, bool) {
	now, wait, running := at.service.now(), lookAgain, false
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
