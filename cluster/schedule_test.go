// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDueTimesAreOfUTC(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("east", 5*3600)
	for _, c := range []struct {
		every            cluster.Every
		now              time.Time
		last, next, then string
	}{
		{"hourly", at("2026-03-29 01:59:59"), "2026-03-29 01:00:00", "2026-03-29 02:00:00", "2026-03-29 03:00:00"},
		{"hourly", at("2026-03-29 02:00:00"), "2026-03-29 02:00:00", "2026-03-29 03:00:00", "2026-03-29 04:00:00"},
		{"daily", at("2024-02-28 23:59:59"), "2024-02-28 00:00:00", "2024-02-29 00:00:00", "2024-03-01 00:00:00"},
		{"daily", at("2026-01-01 03:00:00").In(east), "2026-01-01 00:00:00", "2026-01-02 00:00:00", "2026-01-03 00:00:00"},
		{"weekly", at("2026-11-22 23:00:00"), "2026-11-16 00:00:00", "2026-11-23 00:00:00", "2026-11-30 00:00:00"},
		{"monthly", at("2026-01-31 12:00:00"), "2026-01-01 00:00:00", "2026-02-01 00:00:00", "2026-03-01 00:00:00"},
		{"monthly", at("2026-12-01 00:00:00"), "2026-12-01 00:00:00", "2027-01-01 00:00:00", "2027-02-01 00:00:00"},
		{"15m", at("2026-01-01 10:29:00"), "2026-01-01 10:15:00", "2026-01-01 10:30:00", "2026-01-01 10:45:00"},
		{"6h", at("2026-01-01 23:59:00"), "2026-01-01 18:00:00", "2026-01-02 00:00:00", "2026-01-02 06:00:00"},
	} {
		last, next := c.every.Last(c.now), c.every.Next(c.now)
		if !last.Equal(at(c.last)) || !next.Equal(at(c.next)) || !c.every.Next(next).Equal(at(c.then)) {
			t.Errorf("%s at %v: last %v, next %v, then %v; want %s, %s, %s", c.every, c.now, last, next, c.every.Next(next), c.last, c.next, c.then)
		}
	}
	if last := cluster.Every("weekly").Last(at("2026-11-25 00:00:00")); last.Weekday() != time.Monday {
		t.Errorf("weeks begin on a %s", last.Weekday())
	}
}

func TestWhatWasMissedIsDueOnce(t *testing.T) {
	t.Parallel()
	s := cluster.Schedule{Every: "hourly", Done: at("2026-01-01 10:00:00")}
	if due, open := s.Due(at("2026-01-01 10:59:59")); open {
		t.Errorf("due at %v, before its time", due)
	}
	due, open := s.Due(at("2026-01-03 07:20:00"))
	if !open || !due.Equal(at("2026-01-03 07:00:00")) {
		t.Errorf("after two days: %v, %v; want the newest", due, open)
	}
	s.Done = due
	if due, open := s.Due(at("2026-01-03 07:20:00")); open {
		t.Errorf("%v is due after it is done", due)
	}
	if next := s.Next(at("2026-01-03 07:20:00")); !next.Equal(at("2026-01-03 08:00:00")) {
		t.Errorf("the next is at %v", next)
	}
	s.Paused = true
	if _, open := s.Due(at("2026-01-09 00:00:00")); open || !s.Next(at("2026-01-09 00:00:00")).IsZero() {
		t.Error("a paused schedule is due")
	}
}

func TestABadScheduleIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	good := cluster.Schedule{Name: "nightly", Every: "daily", Keep: cluster.Retention{Daily: 7}}
	if err := good.Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for _, c := range []struct {
		field, says string
		spoil       func(*cluster.Schedule)
	}{
		{"name", "is missing", func(s *cluster.Schedule) { s.Name = "" }},
		{"name", "is not a name", func(s *cluster.Schedule) { s.Name = "a/b" }},
		{"name", "longer than 100", func(s *cluster.Schedule) { s.Name = strings.Repeat("x", 101) }},
		{"id", "is not a UUID", func(s *cluster.Schedule) { s.ID = "7" }},
		{"every", "is missing", func(s *cluster.Schedule) { s.Every = "" }},
		{"every", "hourly, daily, weekly, monthly, or a duration", func(s *cluster.Schedule) { s.Every = "yearly" }},
		{"every", "59s is shorter than 1m0s", func(s *cluster.Schedule) { s.Every = "59s" }},
		{"every", "shorter", func(s *cluster.Schedule) { s.Every = "-1h" }},
		{"every", "whole number of seconds", func(s *cluster.Schedule) { s.Every = "90.5s" }},
		{"every", "longer than a year", func(s *cluster.Schedule) { s.Every = "9000h" }},
		{"keep", "is missing", func(s *cluster.Schedule) { s.Keep = cluster.Retention{} }},
		{"keep.hourly", "-1 is not from 0 to 199", func(s *cluster.Schedule) { s.Keep.Hourly = -1 }},
		{"keep.last", "200 is not from 0 to 199", func(s *cluster.Schedule) { s.Keep.Last = 200 }},
		{"keep", "are 200 snapshots together", func(s *cluster.Schedule) { s.Keep = cluster.Retention{Last: 100, Daily: 100} }},
	} {
		s := good
		c.spoil(&s)
		found := cluster.FieldErrors(s.Validate())
		if len(found) != 1 || found[0].Field != c.field || !strings.Contains(found[0].Problem, c.says) {
			t.Errorf("got %v; want %s: %s", s.Validate(), c.field, c.says)
		}
	}
}

// An interval of a later version, which this one does not know, is never due; nothing is made up.
func TestAnUnknownIntervalIsNeverDue(t *testing.T) {
	t.Parallel()
	s := cluster.Schedule{Every: "yearly"}
	if due, open := s.Due(at("2026-01-01 00:00:00")); open || !s.Next(at("2026-01-01 00:00:00")).IsZero() {
		t.Errorf("due at %v", due)
	}
}
