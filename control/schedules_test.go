// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
)

// scheduled is a stage with a clock of its own and dataset db, of which snapshots are taken as soon as take is called.
type scheduled struct {
	*stage

	now   time.Time
	held  []cluster.Snapshot
	takes int
}

func scheduledStage(t *testing.T, nodes ...string) *scheduled {
	t.Helper()
	s := &scheduled{stage: newStage(t, nodes...), now: time.Date(2026, 3, 2, 10, 20, 0, 0, time.UTC)}
	s.service.SetClock(func() time.Time { return s.now })
	s.deploy("db", "a")
	s.tell()
	return s
}

// tell reports the snapshots that node a has.
func (s *scheduled) tell() {
	s.holding("a", cluster.Copy{Dataset: "db", Snapshots: s.held, Used: int64(s.takes)}, disks())
}

func (s *scheduled) schedule(r api.ScheduleRequest) api.ScheduleInfo {
	s.t.Helper()
	if r.Dataset == "" && r.Application == "" {
		r.Dataset = "db"
	}
	x, err := s.service.CreateSchedule(s.t.Context(), "test", r)
	if err != nil {
		s.t.Fatal(err)
	}
	return x
}

// at moves the clock and lets the control service look at its schedules.
func (s *scheduled) at(text string) {
	s.t.Helper()
	now, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		s.t.Fatal(err)
	}
	s.now = now
	s.round()
}

func (s *scheduled) round() {
	s.t.Helper()
	if err := s.service.ScheduleRound(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// take plays node a: it takes what is asked for, lets go of what is removed, and tells.
func (s *scheduled) take() {
	s.t.Helper()
	for _, info := range s.all() {
		switch {
		case info.State == api.SnapshotRemoved:
			s.lose(info)
		case info.Taken == nil:
			s.takes++
			as := cluster.Snapshot{Name: fmt.Sprint("s", s.takes), ID: fmt.Sprint("content", s.takes), Epoch: 1, Serial: uint64(s.takes)}
			if err := s.took("a", s.actors["a"].session, info, as); err != nil {
				s.t.Fatal(err)
			}
			s.held = append(s.held, as)
		}
	}
	s.tell()
}

// lose has node a no longer hold a snapshot.
func (s *scheduled) lose(info api.SnapshotInfo) {
	var left []cluster.Snapshot
	for _, h := range s.held {
		if h.ID != info.Taken.ID {
			left = append(left, h)
		}
	}
	s.held = left
}

func (s *scheduled) all() []api.SnapshotInfo {
	s.t.Helper()
	all, err := s.service.ListSnapshots(s.t.Context(), "db")
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// shows compares the names of the snapshots of db.
func (s *scheduled) shows(want ...string) {
	s.t.Helper()
	var got []string
	for _, info := range s.all() {
		if info.State != api.SnapshotRemoved {
			got = append(got, info.Name)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		s.t.Errorf("at %s there are %v; want %v", s.now.Format(time.DateTime), got, want)
	}
}

func (s *scheduled) one() api.ScheduleInfo {
	s.t.Helper()
	all, err := s.service.ListSchedules(s.t.Context())
	if err != nil || len(all) != 1 {
		s.t.Fatalf("ListSchedules() = %+v, %v", all, err)
	}
	return all[0]
}

func TestAScheduleAsksAtItsTimesAndOnceForWhatItMissed(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	x := s.schedule(api.ScheduleRequest{Every: "hourly", Keep: cluster.Retention{Last: 9}})
	if x.Name != "hourly" || x.DatasetName != "db" || !x.Next.Equal(time.Date(2026, 3, 2, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("got %+v", x)
	}
	s.at("2026-03-02 10:59:59")
	s.shows()
	s.at("2026-03-02 11:00:01")
	s.round()
	s.shows("hourly-20260302-110000")
	got := s.all()[0]
	if got.By != "schedule hourly" || got.Scheduled == nil || got.Scheduled.Schedule != x.ID || !got.Asked.Equal(s.now) {
		t.Errorf("got %+v", got)
	}
	s.take()
	s.at("2026-03-04 07:30:00")
	s.shows("hourly-20260302-110000", "hourly-20260304-070000")
	s.take()
	s.at("2026-03-04 07:59:59")
	s.shows("hourly-20260302-110000", "hourly-20260304-070000")
	if x := s.one(); x.Snapshots != 2 || x.Reason != "" || !x.Next.Equal(time.Date(2026, 3, 4, 8, 0, 0, 0, time.UTC)) {
		t.Errorf("got %+v", x)
	}
}

// While a snapshot is not taken, it answers for all that come due; when the node is back there is one, of the newest time.
func TestWhatIsNotTakenYetAnswersForWhatComesDue(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	s.schedule(api.ScheduleRequest{Every: "hourly", Keep: cluster.Retention{Last: 9}})
	s.at("2026-03-02 11:00:00")
	s.die("a")
	s.at("2026-03-02 12:00:00")
	s.at("2026-03-02 15:10:00")
	s.shows("hourly-20260302-110000")
	x := s.one()
	if !strings.Contains(x.Reason, "hourly-20260302-110000 of dataset db is not taken yet: node a, which owns the dataset, is not alive") {
		t.Errorf("the reason is %q", x.Reason)
	}
	status, err := s.service.Status(t.Context())
	if err != nil || !strings.Contains(fmt.Sprint(status.Pending), "db hourly") {
		t.Errorf("pending: %+v, %v", status.Pending, err)
	}
	s.boot("a", "boot-2")
	s.take()
	s.round()
	s.shows("hourly-20260302-110000")
	if due := s.all()[0].Scheduled.Due; due.Hour() != 15 {
		t.Errorf("it counts for %v; want what was due last", due)
	}
	if x := s.one(); x.Reason != "" {
		t.Errorf("still waits: %s", x.Reason)
	}
	s.at("2026-03-02 16:00:00")
	s.shows("hourly-20260302-110000", "hourly-20260302-160000")
}

func TestPausedMeansNothingAndIsNotMadeUpFor(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	x := s.schedule(api.ScheduleRequest{Name: "often", Every: "10m", Keep: cluster.Retention{Last: 1}, Paused: true})
	change := func(c api.ScheduleChange) api.ScheduleInfo {
		t.Helper()
		info, err := s.service.ChangeSchedule(t.Context(), "test", x.ID, c)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	yes, no := true, false
	s.at("2026-03-02 11:05:00")
	s.shows()
	if info := change(api.ScheduleChange{Paused: &no}); !info.Next.Equal(s.now.Add(5 * time.Minute)) {
		t.Errorf("resumed, the next is at %v", info.Next)
	}
	s.round()
	s.shows()
	s.at("2026-03-02 11:10:00")
	s.take()
	s.at("2026-03-02 11:20:00")
	s.take()
	if info := change(api.ScheduleChange{Paused: &yes}); !info.Next.IsZero() {
		t.Errorf("paused, the next is at %v", info.Next)
	}
	s.at("2026-03-02 12:00:00") // nothing is removed either
	s.shows("often-20260302-111000", "often-20260302-112000")
	before := s.revision()
	change(api.ScheduleChange{Paused: &yes})
	if after := s.revision(); after != before {
		t.Error("the same change again is written")
	}
	hourly, bad := cluster.Hourly, cluster.Every("1s")
	if info := change(api.ScheduleChange{Paused: &no, Every: &hourly}); info.Every != "hourly" || !info.Next.Equal(s.now.Add(time.Hour)) {
		t.Errorf("got %+v", info)
	}
	err := second(s.service.ChangeSchedule(t.Context(), "test", x.ID, api.ScheduleChange{Every: &bad}))
	wantError(t, err, cluster.ErrInvalid)
	wantError(t, second(s.service.ChangeSchedule(t.Context(), "test", "nothing", api.ScheduleChange{Paused: &no})), cluster.ErrNotFound)
}

// Several control processes go round at the same times: each due time is one snapshot, whoever wins, and what retention takes goes once.
func TestTwoControlProcessesAskOnce(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	s.schedule(api.ScheduleRequest{Every: "15m", Keep: cluster.Retention{Last: 99}})
	var others []*control.Service
	for _, ahead := range []time.Duration{0, 7 * time.Second, -3 * time.Second} {
		other := control.NewService(s.store, nil, "test", quiet())
		other.SetClock(func() time.Time { return s.now.Add(ahead) })
		others = append(others, other)
	}
	for range 8 {
		s.now = s.now.Truncate(15 * time.Minute).Add(15*time.Minute + 5*time.Second)
		var all sync.WaitGroup
		for _, other := range others {
			for range 2 {
				all.Go(func() {
					if err := other.ScheduleRound(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		s.take()
		for _, other := range others { // one that comes late, when it is taken
			if err := other.ScheduleRound(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	dues := map[time.Time]int{}
	for _, k := range s.all() {
		dues[k.Scheduled.Due]++
	}
	if len(dues) != 8 || len(s.all()) != 8 {
		t.Errorf("%d snapshots of %d times; want 8 of 8", len(s.all()), len(dues))
	}
}

// What has no room, or cannot be taken, is said with its reason, and taken when that is over.
func TestAScheduleThatCannotTakeOneSaysSo(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a", "b")
	s.schedule(api.ScheduleRequest{Every: "hourly", Keep: cluster.Retention{Last: 9}})
	s.at("2026-03-02 11:00:00")
	s.take()
	m := s.move("db", "b")
	s.at("2026-03-02 12:00:30")
	s.shows("hourly-20260302-110000")
	x := s.one()
	if !strings.Contains(x.Reason, "it is being moved (move "+string(m.ID)+")") || strings.Contains(x.Reason, "conflict") || !x.Since.Equal(s.now) {
		t.Errorf("in a move: %q since %v", x.Reason, x.Since)
	}
	before := s.revision()
	s.round()
	if s.revision() != before {
		t.Error("the same reason again is written")
	}
	if got := s.moveOf(m.ID); got.Phase != cluster.MovePlanned || got.CancelRequested {
		t.Errorf("the move is %+v", got)
	}
	if err := second(s.service.CancelMove(t.Context(), "test", string(m.ID))); err != nil {
		t.Fatal(err)
	}
	s.abort(m.ID)
	s.round()
	s.shows("hourly-20260302-110000", "hourly-20260302-120000")
	if x := s.one(); strings.Contains(x.Reason, "moved") {
		t.Errorf("after the move: %q", x.Reason)
	}
	s.take()

	for i := len(s.all()); i < cluster.MostSnapshots; i++ {
		if err := second(s.service.CreateSnapshots(t.Context(), "test", api.SnapshotRequest{Dataset: "db", Name: fmt.Sprint("mine-", i)})); err != nil {
			t.Fatal(err)
		}
	}
	s.at("2026-03-02 13:00:00")
	if x := s.one(); !strings.Contains(x.Reason, "it has 200 snapshots, the most there can be") {
		t.Errorf("with 200 snapshots: %q", x.Reason)
	}
	if err := second(s.service.DeleteSnapshot(t.Context(), "test", "db", "mine-7")); err != nil {
		t.Fatal(err)
	}
	s.round()
	if got := s.all(); got[len(got)-1].Name != "hourly-20260302-130000" {
		t.Errorf("with room again the last is %s", got[len(got)-1].Name)
	}
}

// moveOf is a move as it is.
func (s *stage) moveOf(id cluster.MoveID) cluster.Move {
	s.t.Helper()
	m, err := s.service.GetMove(s.t.Context(), string(id))
	if err != nil {
		s.t.Fatal(err)
	}
	return m.Move
}

// abort ends a move that was cancelled, as its source does.
func (s *stage) abort(id cluster.MoveID) {
	s.t.Helper()
	m := s.moveOf(id)
	if m.Phase.Terminal() {
		return
	}
	_, err := s.service.Transition(s.t.Context(), m.Source, id, api.MoveTransition{
		Action: api.ActionAbort, Session: s.actors["a"].session, Attempt: m.Attempt, Revision: m.Revision,
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestAnApplicationsScheduleAsksForAllItsDatasets(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	_, err := s.service.Deploy(t.Context(), "test", api.DeployRequest{
		Applications: []cluster.Application{
			{Name: "shop", Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: "rows", MountPoint: "/db"}, {Dataset: "files", MountPoint: "/files"}}},
			{Name: "empty", Image: "x", Node: "a"},
		},
		Datasets: []cluster.Dataset{{Name: "rows"}, {Name: "files"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	x := s.schedule(api.ScheduleRequest{Application: "shop", Every: "daily", Quiesce: true, Keep: cluster.Retention{Daily: 7}})
	s.schedule(api.ScheduleRequest{Dataset: "rows", Every: "daily", Keep: cluster.Retention{Daily: 7}}) // the names would be the same
	err = second(s.service.CreateSchedule(t.Context(), "test", api.ScheduleRequest{Application: "empty", Every: "daily", Keep: x.Keep}))
	wantError(t, err, cluster.ErrPrecondition)
	s.at("2026-03-03 00:00:00")
	s.round()
	all, err := s.service.ListSnapshots(t.Context(), "")
	if err != nil || len(all) != 3 {
		t.Fatalf("%d snapshots, %v; want two of the application and one of the dataset", len(all), err)
	}
	groups, seen := map[string]int{}, map[string]bool{}
	for _, k := range all {
		groups[k.Group]++
		if seen[k.DatasetName+k.Name] {
			t.Errorf("two snapshots %s of %s", k.Name, k.DatasetName)
		}
		seen[k.DatasetName+k.Name] = true
		if k.Application != "" && !k.Quiesce {
			t.Errorf("without quiesce: %+v", k)
		}
	}
	if len(groups) != 2 || groups[""] != 1 {
		t.Errorf("groups %v", groups)
	}
	if err := second(s.service.DeleteApplication(t.Context(), "test", "shop")); err != nil {
		t.Fatal(err)
	}
	if left := s.one(); left.DatasetName != "rows" {
		t.Errorf("left: %+v", left)
	}
}

func TestASchedulesEndIsThatOfItsDataset(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	r := api.DatasetRequest{Name: "plain", Node: "a"}
	if err := second(s.service.CreateDataset(t.Context(), "test", r)); err != nil {
		t.Fatal(err)
	}
	s.schedule(api.ScheduleRequest{Dataset: "plain", Every: "daily", Keep: cluster.Retention{Last: 1}})
	kept := s.schedule(api.ScheduleRequest{Every: "daily", Keep: cluster.Retention{Last: 1}})
	if err := second(s.service.DeleteDataset(t.Context(), "test", "plain")); err != nil {
		t.Fatal(err)
	}
	if left := s.one(); left.ID != kept.ID {
		t.Errorf("left: %+v", left)
	}
	s.at("2026-03-03 00:00:00")
	s.take()
	if removed, err := s.service.DeleteSchedule(t.Context(), "test", kept.ID); err != nil || removed.Snapshots != 1 {
		t.Errorf("DeleteSchedule() = %+v, %v", removed, err)
	}
	wantError(t, second(s.service.DeleteSchedule(t.Context(), "test", kept.ID)), cluster.ErrNotFound)
	s.at("2026-03-05 00:00:00")
	s.shows("daily-20260303-000000") // what it has made stays
}

func TestAScheduleIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	daily := func(change func(*api.ScheduleRequest)) error {
		r := api.ScheduleRequest{Dataset: "db", Every: "daily", Keep: cluster.Retention{Daily: 7}}
		change(&r)
		return second(s.service.CreateSchedule(t.Context(), "test", r))
	}
	same := cluster.ScheduleID(uuid.NewString())
	for range 2 { // the second, because the answer to the first was lost
		if err := daily(func(r *api.ScheduleRequest) { r.ID = same }); err != nil {
			t.Fatal(err)
		}
	}
	before := s.revision()
	wantError(t, daily(func(*api.ScheduleRequest) {}), cluster.ErrExists)
	wantError(t, daily(func(r *api.ScheduleRequest) { r.Application = "db" }), cluster.ErrInvalid)
	wantError(t, daily(func(r *api.ScheduleRequest) { r.Dataset = "" }), cluster.ErrInvalid)
	wantError(t, daily(func(r *api.ScheduleRequest) { r.Dataset = "none" }), cluster.ErrNotFound)
	wantError(t, daily(func(r *api.ScheduleRequest) { r.Dataset, r.Application = "", "none" }), cluster.ErrNotFound)
	wantError(t, daily(func(r *api.ScheduleRequest) { r.Keep = cluster.Retention{} }), cluster.ErrInvalid)
	h := s.userHandler()
	for _, c := range []struct{ body, says string }{
		{`{"dataset":"db","every":"1s","keep":{"last":1}}`, `"field":"every"`},
		{`{"dataset":"db","every":"daily","keep":{"dayly":1}}`, "dayly"},
		{`{"dataset":"db","every":"daily","keep":{"daily":1000}}`, `"field":"keep.daily"`},
		{`{"dataset":"db","every":"daily"}`, `"field":"keep"`},
		{`{"dataset":"db","keep":{"last":1}}`, `"field":"every"`},
	} {
		if code, got := ask(h, "POST", "/v2/schedules", c.body); code != 422 || !strings.Contains(got, c.says) {
			t.Errorf("%s: %d %s; want 422 with %q", c.body, code, got, c.says)
		}
	}
	if code, got := ask(h, "PATCH", "/v2/schedules/"+string(same), `{"keep":{"last":-1}}`); code != 422 || !strings.Contains(got, `"field":"keep.last"`) {
		t.Errorf("PATCH: %d %s", code, got)
	}
	if s.revision() != before {
		t.Error("a refusal has changed something")
	}
	for i := range 15 {
		if err := daily(func(r *api.ScheduleRequest) { r.Name = fmt.Sprint("n", i) }); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, daily(func(r *api.ScheduleRequest) { r.Name = "one-too-many" }), cluster.ErrConflict)
	s.holding("a", cluster.Copy{Dataset: "db"}, cluster.Capabilities{Attaches: true})
	err := daily(func(r *api.ScheduleRequest) { r.Name = "volumes" })
	wantError(t, err, cluster.ErrPrecondition)
	if !strings.Contains(err.Error(), "takes no snapshots") {
		t.Errorf("got %v", err)
	}
}

// A store that was restored from a backup is not acted on before an operator has confirmed it.
func TestARestoredStoresSchedulesWait(t *testing.T) {
	t.Parallel()
	s := scheduledStage(t, "a")
	s.schedule(api.ScheduleRequest{Every: "hourly", Keep: cluster.Retention{Last: 1}})
	unconfirmed := func(is bool) {
		_, err := s.store.Update(t.Context(), func(tx *store.Tx) error {
			meta, err := store.Get(t.Context(), tx, store.MetaKey)
			if err != nil {
				return err
			}
			meta.Unconfirmed = is
			return store.Put(tx, store.MetaKey, meta)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	unconfirmed(true)
	s.at("2026-03-02 11:00:00")
	s.shows()
	unconfirmed(false)
	s.round()
	s.shows("hourly-20260302-110000")
}
