// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flocker-project/flocker/cluster"
)

// made are the snapshots of a schedule at those times.
func made(times ...time.Time) []cluster.KeptSnapshot {
	var all []cluster.KeptSnapshot
	for _, at := range times {
		all = append(all, cluster.KeptSnapshot{Name: at.Format("2006-01-02 15:04:05"), Scheduled: &cluster.Scheduled{Due: at}})
	}
	return all
}

// left are the names of those that are kept, oldest first.
func left(r cluster.Retention, all []cluster.KeptSnapshot) []string {
	spare := r.Spare(all)
	names := []string{}
	for _, k := range all {
		if !slices.ContainsFunc(spare, func(s cluster.KeptSnapshot) bool { return s.Name == k.Name }) {
			names = append(names, k.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestEachRuleKeepsTheNewestOfItsPeriods(t *testing.T) {
	t.Parallel()
	all := made(
		at("2025-11-30 00:00:00"), at("2025-12-29 00:00:00"), at("2025-12-31 23:00:00"), at("2026-01-01 00:00:00"), at("2026-01-04 12:00:00"),
		at("2026-01-05 00:00:00"), at("2026-01-05 00:30:00"), at("2026-01-05 01:00:00"),
	)
	for _, c := range []struct {
		name string
		keep cluster.Retention
		want []string
	}{
		{"last", cluster.Retention{Last: 2}, []string{"2026-01-05 00:30:00", "2026-01-05 01:00:00"}},
		{"hourly", cluster.Retention{Hourly: 3}, []string{"2026-01-04 12:00:00", "2026-01-05 00:30:00", "2026-01-05 01:00:00"}},
		{"daily", cluster.Retention{Daily: 3}, []string{"2026-01-01 00:00:00", "2026-01-04 12:00:00", "2026-01-05 01:00:00"}},
		{"weekly", cluster.Retention{Weekly: 3}, []string{"2025-11-30 00:00:00", "2026-01-04 12:00:00", "2026-01-05 01:00:00"}},
		{"monthly", cluster.Retention{Monthly: 2}, []string{"2025-12-31 23:00:00", "2026-01-05 01:00:00"}},
		{"together", cluster.Retention{Last: 1, Hourly: 2, Monthly: 3}, []string{
			"2025-11-30 00:00:00", "2025-12-31 23:00:00", "2026-01-05 00:30:00", "2026-01-05 01:00:00",
		}},
		{"more than there are", cluster.Retention{Last: 100}, names(all)},
		{"nothing", cluster.Retention{}, []string{"2026-01-05 01:00:00"}},
	} {
		if diff := cmp.Diff(c.want, left(c.keep, all)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func names(all []cluster.KeptSnapshot) []string {
	var names []string
	for _, k := range all {
		names = append(names, k.Name)
	}
	return names
}

// TestRetentionIsThatOfAPlainModel compares with one that writes each time's period down and picks from the list, in whatever order the
// snapshots come. What is kept does not change when the spare ones are gone, nor when some that are spare go first.
func TestRetentionIsThatOfAPlainModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hours := rapid.SliceOfNDistinct(rapid.IntRange(0, 4000), 0, 60, rapid.ID[int]).Draw(t, "half hours")
		var times []time.Time
		for _, h := range hours {
			times = append(times, at("2025-12-01 00:00:00").Add(time.Duration(h)*30*time.Minute))
		}
		few := rapid.IntRange(0, 5)
		r := cluster.Retention{Last: few.Draw(t, "last"), Hourly: few.Draw(t, "hourly"), Daily: few.Draw(t, "daily"), Weekly: few.Draw(t, "weekly"), Monthly: few.Draw(t, "monthly")}
		all := made(times...)
		kept := left(r, all)
		if diff := cmp.Diff(modelKeeps(r, times), kept); diff != "" {
			t.Fatalf("%+v of %v (-model +got):\n%s", r, times, diff)
		}
		spare := r.Spare(all)
		some := slices.DeleteFunc(slices.Clone(all), func(k cluster.KeptSnapshot) bool {
			return slices.ContainsFunc(spare, func(s cluster.KeptSnapshot) bool { return s.Name == k.Name }) && rapid.Bool().Draw(t, "gone")
		})
		if diff := cmp.Diff(kept, left(r, some)); diff != "" {
			t.Fatalf("%+v once some are gone:\n%s", r, diff)
		}
	})
}

func modelKeeps(r cluster.Retention, times []time.Time) []string {
	sorted := slices.Clone(times)
	slices.SortFunc(sorted, func(a, b time.Time) int { return b.Compare(a) })
	keep := map[string]bool{}
	pick := func(most int, period func(time.Time) string) {
		seen := map[string]bool{}
		for _, at := range sorted {
			if p := period(at); !seen[p] && len(seen) < most {
				seen[p] = true
				keep[at.Format("2006-01-02 15:04:05")] = true
			}
		}
	}
	pick(1, func(time.Time) string { return "the newest" })
	pick(r.Last, func(at time.Time) string { return at.String() })
	pick(r.Hourly, func(at time.Time) string { return at.Format("2006-01-02 15") })
	pick(r.Daily, func(at time.Time) string { return at.Format("2006-01-02") })
	pick(r.Weekly, func(at time.Time) string {
		year, week := at.ISOWeek()
		return fmt.Sprint(year, week)
	})
	pick(r.Monthly, func(at time.Time) string { return at.Format("2006-01") })
	names := []string{}
	for name := range keep {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
