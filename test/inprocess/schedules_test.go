// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// A schedule's snapshots are taken when they are due, of all of an application at one instant; one for all the times at which control was away; also by
// the node that the application has moved to, in which nothing disturbs the move; and what is kept no longer goes from every node's storage.
func TestASchedulesSnapshotsAreTakenAndGoByThemselves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	home, other := w.nodes[0], w.nodes[1]
	w.deploy("db", home, 2, nil)
	w.service.setClock(1, time.Hour-3*time.Second)
	x, err := w.user.CreateSchedule(t.Context(), api.ScheduleRequest{Application: "db", Every: "hourly", Keep: cluster.Retention{Last: 2}})
	if err != nil {
		t.Fatal(err)
	}
	first := w.due(2, x.Next)
	if one, two := home.kept(first[0]), home.kept(first[1]); one != two || first[0].Group != first[1].Group {
		t.Errorf("%q and %q are not of one instant", one, two)
	}

	w.service.kill()
	w.service.setClock(5, time.Minute)
	w.service.start()
	w.due(4, w.service.now().Truncate(time.Hour))

	move := w.ask("db", other)
	w.service.kill()
	w.service.setClock(30, time.Minute)
	w.service.start()
	if m := w.wait(move); m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	last := w.due(4, w.service.now().Truncate(time.Hour))
	w.until("the first ones are gone from storage", func() bool {
		for _, s := range first {
			for _, n := range w.nodes {
				if c, _ := n.copyOf(s.Dataset); c.Held(*s.Taken) {
					return false
				}
			}
		}
		return true
	})
	for _, s := range last {
		if s.ID == first[0].ID || s.ID == first[1].ID {
			t.Errorf("snapshot %s of %s is still kept", s.Name, s.DatasetName)
		}
	}
	w.served("db")
}

// due waits until the newest of some scheduled snapshots is of that time, and all are taken, and returns them.
func (w *world) due(count int, newest time.Time) []api.SnapshotInfo {
	w.t.Helper()
	var now []api.SnapshotInfo
	w.until("the snapshot due at "+newest.Format(time.TimeOnly)+" is taken", func() bool {
		all, err := w.user.Snapshots(w.t.Context(), "")
		if err != nil || len(all) != count {
			return false
		}
		is := 0
		for _, s := range all {
			if s.State != api.SnapshotTaken || s.Scheduled == nil {
				return false
			}
			if s.Scheduled.Due.Equal(newest) {
				is++
			}
		}
		now = all
		return is == 2
	})
	return w.taken(now)
}
