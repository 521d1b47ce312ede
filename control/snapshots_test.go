// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func disks() cluster.Capabilities {
	return cluster.Capabilities{Replicates: true, Snapshots: true, Reverts: true, Resizes: true}
}

// kept is a stage with dataset db, mounted on node a, and a snapshot of it that was asked for.
func keptStage(t *testing.T, nodes ...string) (*stage, api.SnapshotInfo) {
	t.Helper()
	s := newStage(t, nodes...)
	s.deploy("db", "a")
	s.holding("a", cluster.Copy{Dataset: "db"}, disks())
	return s, s.ask("one")
}

func (s *stage) ask(name string) api.SnapshotInfo {
	s.t.Helper()
	infos, err := s.service.CreateSnapshots(s.t.Context(), "test", api.SnapshotRequest{Dataset: "db", Name: name})
	if err != nil || len(infos) != 1 || infos[0].State != api.SnapshotAsked {
		s.t.Fatalf("CreateSnapshots() = %+v, %v", infos, err)
	}
	return infos[0]
}

// took reports, as a node's agent, that a snapshot is taken as storage's.
func (s *stage) took(node, session string, of api.SnapshotInfo, as cluster.Snapshot) error {
	return second(s.service.ReportSnapshots(s.t.Context(), s.actors[node].id, api.SnapshotReport{
		Session: session, Taken: []api.TakenSnapshot{{Dataset: of.Dataset, ID: of.ID, Snapshot: as}},
	}))
}

func (s *stage) only(dataset string) api.SnapshotInfo {
	s.t.Helper()
	all, err := s.service.ListSnapshots(s.t.Context(), dataset)
	if err != nil || len(all) != 1 {
		s.t.Fatalf("ListSnapshots() = %+v, %v", all, err)
	}
	return all[0]
}

func physical(serial uint64) cluster.Snapshot {
	return cluster.Snapshot{Name: "s" + string(rune('0'+serial)), ID: "content" + string(rune('0'+serial)), Epoch: 1, Serial: serial}
}

func TestTheSameAskTwiceIsOneSnapshot(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.deploy("db", "a")
	s.holding("a", cluster.Copy{Dataset: "db"}, disks())
	r := api.SnapshotRequest{ID: cluster.SnapshotID(uuid.NewString()), Dataset: "db", Name: "one"}
	for range 2 {
		infos, err := s.service.CreateSnapshots(t.Context(), "test", r)
		if err != nil || len(infos) != 1 || infos[0].ID != r.ID {
			t.Fatalf("got %+v, %v", infos, err)
		}
	}
	r.ID = "" // another ask with the name
	wantError(t, second(s.service.CreateSnapshots(t.Context(), "test", r)), cluster.ErrExists)
	if got := s.only("db"); got.Name != "one" || got.State != api.SnapshotAsked || !strings.Contains(got.Reason, "node a is to take it") {
		t.Errorf("got %+v", got)
	}
}

func TestASnapshotIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	ask := func() error {
		return second(s.service.CreateSnapshots(t.Context(), "test", api.SnapshotRequest{Dataset: "db"}))
	}
	says := func(err error, sentinel error, text string) {
		t.Helper()
		wantError(t, err, sentinel)
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %v; want it to say %q", err, text)
		}
	}
	says(ask(), cluster.ErrPrecondition, "node a, has not told yet")
	s.holding("a", cluster.Copy{Dataset: "db"}, cluster.Capabilities{Attaches: true})
	says(ask(), cluster.ErrPrecondition, "storage test of its owner, node a, takes no snapshots")
	s.holding("a", cluster.Copy{Dataset: "db"}, disks())
	s.move("db", "b")
	says(ask(), cluster.ErrConflict, "being moved")
}

func TestOnlyTheOwnerInItsSessionNotesWhatItHasTaken(t *testing.T) {
	t.Parallel()
	s, one := keptStage(t, "a", "b")
	session := s.actors["a"].session
	wantError(t, s.took("b", s.actors["b"].session, one, physical(5)), cluster.ErrConflict)
	wantError(t, s.took("a", "another", one, physical(5)), cluster.ErrPrecondition)
	other := physical(5)
	other.Epoch = 2
	wantError(t, s.took("a", session, one, other), cluster.ErrConflict)

	s.die("a")
	s.boot("a", "boot-2") // what the dead process sent names what its successor may have pruned
	wantError(t, s.took("a", session, one, physical(5)), cluster.ErrPrecondition)
	session = s.actors["a"].session
	for range 2 { // the second, because the answer to the first was lost
		if err := s.took("a", session, one, physical(6)); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, s.took("a", session, one, physical(7)), cluster.ErrConflict)
	s.holding("a", cluster.Copy{Dataset: "db", Snapshots: []cluster.Snapshot{physical(6)}}, disks())
	if got := s.only("db"); got.State != api.SnapshotTaken || got.Taken.Serial != 6 || len(got.Nodes) != 1 || got.Reason != "" {
		t.Errorf("got %+v", got)
	}
}

func TestARemovedSnapshotIsForgottenWhenItsOwnerHasLetItGo(t *testing.T) {
	t.Parallel()
	s, one := keptStage(t, "a")
	if err := s.took("a", s.actors["a"].session, one, physical(6)); err != nil {
		t.Fatal(err)
	}
	there := cluster.Copy{Dataset: "db", Snapshots: []cluster.Snapshot{physical(6)}}
	s.holding("a", there, disks())
	if err := second(s.service.DeleteSnapshot(t.Context(), "test", "db", "one")); err != nil {
		t.Fatal(err)
	}
	there.Used = 1 // a report of another change
	s.holding("a", there, disks())
	if got := s.only("db"); got.State != api.SnapshotRemoved || got.Reason != "node a is to remove it" {
		t.Errorf("got %+v", got)
	}
	s.ask("one") // the name is free at once
	s.holding("a", cluster.Copy{Dataset: "db"}, disks())
	if got := s.only("db"); got.State != api.SnapshotAsked {
		t.Errorf("got %+v; want only the one that was asked for again", got)
	}
	if err := second(s.service.DeleteSnapshot(t.Context(), "test", "db", "one")); err != nil {
		t.Fatal(err)
	}
	wantError(t, second(s.service.DeleteSnapshot(t.Context(), "test", "db", "one")), cluster.ErrNotFound)
	if err := s.took("a", s.actors["a"].session, one, physical(7)); err != nil {
		t.Errorf("what nobody wants any more is no error: %v", err)
	}
}

func TestAnApplicationsDatasetsAreAskedForAsOneGroup(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	_, err := s.service.Deploy(t.Context(), "test", api.DeployRequest{
		Applications: []cluster.Application{
			{Name: "shop", Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: "db", MountPoint: "/db"}, {Dataset: "files", MountPoint: "/files"}}},
			{Name: "reader", Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: "db", MountPoint: "/db", ReadOnly: true}}},
		},
		Datasets: []cluster.Dataset{{Name: "db"}, {Name: "files"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.holding("a", cluster.Copy{Dataset: "db"}, disks())
	r := api.SnapshotRequest{ID: cluster.SnapshotID(uuid.NewString()), Application: "shop", Name: "monday"}
	infos, err := s.service.CreateSnapshots(t.Context(), "test", r)
	if err != nil || len(infos) != 2 || infos[0].Group != infos[1].Group || infos[0].ID == infos[1].ID || infos[0].Name != "monday" {
		t.Fatalf("got %+v, %v", infos, err)
	}
	if again, err := s.service.CreateSnapshots(t.Context(), "test", r); err != nil || len(again) != 2 || again[0].ID != infos[0].ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	wantError(t, second(s.service.DeleteSnapshot(t.Context(), "test", "db", "monday")), cluster.ErrConflict) // the application may be paused for it
	err = second(s.service.CreateSnapshots(t.Context(), "test", api.SnapshotRequest{Application: "reader"}))
	wantError(t, err, cluster.ErrConflict)
	if !strings.Contains(err.Error(), "written by application shop") {
		t.Errorf("got %v", err)
	}
}

func TestWhatACloneIsToBeMadeFromStaysUntilItIsBorn(t *testing.T) {
	t.Parallel()
	s := takenStage(t, "a", "b")
	clone := func(r api.CloneRequest) (cluster.Dataset, error) {
		return s.service.CloneDataset(t.Context(), "test", "db", r)
	}
	err := second(clone(api.CloneRequest{Name: "copy", Snapshot: "one", Node: "b"}))
	wantError(t, err, cluster.ErrPrecondition)
	if !strings.Contains(err.Error(), "clone it on a, and move the clone") {
		t.Errorf("got %v", err)
	}
	made, err := clone(api.CloneRequest{Name: "copy", Snapshot: "one"})
	if err != nil || made.Owner != s.actors["a"].id || made.Origin == nil || made.Born || made.Backend != s.dataset("db").Backend || made.Backend == "" {
		t.Fatalf("got %+v, %v", made, err)
	}
	now, err := clone(api.CloneRequest{Name: "now"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := clone(api.CloneRequest{Name: "again"}) // born in the same transaction
	if err != nil || !now.Origin.Temporary || len(s.dataset("db").Snapshots) != 3 {
		t.Fatalf("got %+v, %v", now, err)
	}
	wantError(t, second(s.service.DeleteSnapshot(t.Context(), "test", "db", "one")), cluster.ErrConflict)
	if err := second(s.service.DeleteApplication(t.Context(), "test", "db")); err != nil {
		t.Fatal(err)
	}
	copies := map[cluster.DatasetID]cluster.Copy{made.ID: {Head: true, Epoch: 1}, now.ID: {Head: true, Epoch: 1}, other.ID: {Head: true, Epoch: 1}}
	db := s.dataset("db").ID
	copies[db] = cluster.Copy{Dataset: db, Head: true, Epoch: 1, Snapshots: []cluster.Snapshot{physical(6)}, Used: 5}
	s.report("a", cluster.Observed{Storage: cluster.Storage{Backend: "test", Capabilities: disks()}, Copies: copies})
	if d := s.dataset("copy"); !d.Born || d.Backend != "test" {
		t.Errorf("got %+v", d.Dataset)
	}
	copies[db] = cluster.Copy{Dataset: db, Head: true, Epoch: 1, Snapshots: []cluster.Snapshot{physical(6)}, Used: 6}
	s.report("a", cluster.Observed{Storage: cluster.Storage{Backend: "test", Capabilities: disks()}, Copies: copies})
	if got := s.only("db"); got.Name != "one" {
		t.Errorf("got %+v; want only the one that somebody asked for", got)
	}
	if err := second(s.service.DeleteSnapshot(t.Context(), "test", "db", "one")); err != nil {
		t.Error(err)
	}
}
