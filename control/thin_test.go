// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// A schedule removes what its rules do not keep, and nothing else: not what others made, not what is not taken.
func TestAScheduleRemovesOnlyWhatItMade(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	mine := s.ask("hourly-20260302-0900") // as if it were one
	s.schedule(api.ScheduleRequest{Every: "hourly", Keep: cluster.Retention{Last: 2}})
	other := s.schedule(api.ScheduleRequest{Name: "other", Every: "2h", Keep: cluster.Retention{Last: 1}})
	s.take()
	for _, hour := range []string{"11", "12", "13", "14"} {
		s.at("2026-03-02 " + hour + ":00:00")
		s.take()
	}
	s.round()
	s.shows(mine.Name, "hourly-20260302-130000", "hourly-20260302-140000", "other-20260302-140000")
	if err := second(s.service.DeleteSchedule(t.Context(), "test", other.ID)); err != nil {
		t.Fatal(err)
	}
	s.at("2026-03-02 15:00:00") // not taken yet: the older ones are all there is
	s.shows(mine.Name, "hourly-20260302-130000", "hourly-20260302-140000", "other-20260302-140000", "hourly-20260302-150000")
	s.take()
	s.round()
	s.shows(mine.Name, "hourly-20260302-140000", "other-20260302-140000", "hourly-20260302-150000")
}

// What is to be made of a snapshot keeps it; later it goes.
func TestRetentionLeavesWhatIsStillNeeded(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	s.schedule(api.ScheduleRequest{Name: "h", Every: "hourly", Keep: cluster.Retention{Last: 1}})
	s.at("2026-03-02 11:00:00")
	s.take()
	clone, err := s.service.CloneDataset(t.Context(), "test", "db", api.CloneRequest{Name: "copy", Snapshot: "h-20260302-110000"})
	if err != nil {
		t.Fatal(err)
	}
	s.at("2026-03-02 12:00:00")
	s.take()
	s.round()
	s.shows("h-20260302-110000", "h-20260302-120000")
	if err := second(s.service.DeleteDataset(t.Context(), "test", string(clone.ID))); err != nil {
		t.Fatal(err)
	}
	r := api.RollbackRequest{Snapshot: "h-20260302-120000", Stop: true}
	if err := second(s.service.RollBack(t.Context(), "test", "db", r)); err != nil {
		t.Fatal(err)
	}
	s.at("2026-03-02 13:00:00")
	s.take()
	s.round()
	s.shows("before-rollback-20260302-120000.000", "h-20260302-120000", "h-20260302-130000")
	report := api.SnapshotReport{Session: s.actors["a"].session}
	d := s.dataset("db")
	report.RolledBack = []api.RolledBack{{Dataset: d.ID, Kept: d.Rollback.Kept}}
	if err := second(s.service.ReportSnapshots(t.Context(), s.actors["a"].id, report)); err != nil {
		t.Fatal(err)
	}
	s.round()
	s.shows("before-rollback-20260302-120000.000", "h-20260302-130000")
}

// What no node has counts for nothing: the last one that exists is not given up for it.
func TestTheLastOneThatExistsStays(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	s.schedule(api.ScheduleRequest{Name: "h", Every: "hourly", Keep: cluster.Retention{Last: 1}})
	s.at("2026-03-02 11:00:00")
	s.take()
	s.at("2026-03-02 12:00:00")
	s.take()
	s.lose(s.all()[1]) // the node's disk was put back to an older state
	s.tell()
	s.round()
	s.shows("h-20260302-110000", "h-20260302-120000")
	s.at("2026-03-02 13:00:00")
	s.take()
	s.round()
	s.shows("h-20260302-130000")
}

// What is kept no longer after the rules are changed goes at once; a move of the dataset is not disturbed.
func TestChangedRulesHoldAtOnceButNotInAMove(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a", "b")
	x := s.schedule(api.ScheduleRequest{Name: "h", Every: "hourly", Keep: cluster.Retention{Last: 3}})
	for _, hour := range []string{"11", "12", "13"} {
		s.at("2026-03-02 " + hour + ":00:00")
		s.take()
	}
	m := s.move("db", "b")
	if err := second(s.service.ChangeSchedule(t.Context(), "test", x.ID, api.ScheduleChange{Keep: &cluster.Retention{Hourly: 1}})); err != nil {
		t.Fatal(err)
	}
	s.round()
	s.shows("h-20260302-110000", "h-20260302-120000", "h-20260302-130000")
	if err := second(s.service.CancelMove(t.Context(), "test", string(m.ID))); err != nil {
		t.Fatal(err)
	}
	s.abort(m.ID)
	s.round()
	s.shows("h-20260302-130000")
}
