// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// ListSchedules shows all snapshot schedules, by what they are of.
func (s *Service) ListSchedules(ctx context.Context) ([]api.ScheduleInfo, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return nil, err
	}
	return w.scheduleInfos(s.now()), nil
}

func (s *Service) scheduleByID(ctx context.Context, id cluster.ScheduleID) (api.ScheduleInfo, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return api.ScheduleInfo{}, err
	}
	x, ok := w.schedules[id]
	if !ok {
		return api.ScheduleInfo{}, fmt.Errorf("schedule %q: %w", id, cluster.ErrNotFound)
	}
	return w.scheduleInfo(x, s.now()), nil
}

func (w *world) scheduleInfos(now time.Time) []api.ScheduleInfo {
	infos := make([]api.ScheduleInfo, 0, len(w.schedules))
	for _, x := range w.schedules {
		infos = append(infos, w.scheduleInfo(x, now))
	}
	slices.SortFunc(infos, func(a, b api.ScheduleInfo) int {
		return cmp.Or(cmp.Compare(a.Of(), b.Of()), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return infos
}

func (w *world) scheduleInfo(x cluster.Schedule, now time.Time) api.ScheduleInfo {
	info := api.ScheduleInfo{Schedule: x, DatasetName: w.datasets[x.Dataset].Name, Next: x.Next(now)}
	times, waits := map[time.Time]bool{}, ""
	for _, id := range sortedKeys(w.datasets) {
		n := w.datasets[id]
		for _, k := range n.Snapshots {
			if !x.Made(k) || k.Removed {
				continue
			}
			times[k.Scheduled.Due.UTC()] = true
			if k.Taken == nil {
				waits = fmt.Sprintf("snapshot %s of dataset %s is not taken yet: %s", k.Name, n.Name, w.snapshotInfo(n, k).Reason)
				info.Since = k.Asked
			}
		}
	}
	info.Snapshots = len(times)
	switch {
	case x.Paused:
		info.Reason, info.Since = "", time.Time{} // it waits for nobody but the user
	case x.Reason != "":
		info.Since = x.Since
	case x.Every.Validate() != nil:
		info.Reason = x.Every.Validate().Error()
	case waits != "":
		info.Reason = waits
	case x.Done.After(now):
		info.Reason = fmt.Sprintf("the one due at %s was made while the clock of a control process was ahead; pausing and resuming begins anew",
			x.Done.Format("2006-01-02 15:04:05 MST"))
	}
	return info
}

// scheduleText tells of a schedule's changes; that it went on is told of its snapshots.
func scheduleText(_ nodeNamer, was, is *cluster.Schedule) (string, string) {
	switch {
	case is == nil && was == nil:
		return "", "removed"
	case is == nil:
		return was.Name, "removed"
	case was == nil:
		return is.Name, fmt.Sprintf("created: %s", is.Every)
	case is.Paused != was.Paused && is.Paused:
		return is.Name, "is paused"
	case is.Paused != was.Paused:
		return is.Name, "goes on"
	case is.Every != was.Every || is.Keep != was.Keep || is.Quiesce != was.Quiesce:
		return is.Name, "changed"
	case is.Reason != was.Reason:
		return is.Name, is.Reason
	}
	return is.Name, ""
}
