// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// takenStage is a stage with a snapshot "one" of dataset db that is taken, and on node a.
func takenStage(t *testing.T, nodes ...string) *stage {
	t.Helper()
	s, one := keptStage(t, nodes...)
	if err := s.took("a", s.actors["a"].session, one, physical(6)); err != nil {
		t.Fatal(err)
	}
	s.holding("a", cluster.Copy{Dataset: "db", Snapshots: []cluster.Snapshot{physical(6)}}, disks())
	return s
}

func TestARollbackKeepsWhatThereIsAndHoldsOtherChangesOff(t *testing.T) {
	t.Parallel()
	s := takenStage(t, "a", "b")
	back := func(r api.RollbackRequest) (api.RollbackReply, error) {
		return s.service.RollBack(t.Context(), "test", "db", r)
	}
	refused := func(err, sentinel error, says string) {
		t.Helper()
		wantError(t, err, sentinel)
		if !strings.Contains(err.Error(), says) {
			t.Errorf("got %v; want it to say %q", err, says)
		}
	}
	refused(second(back(api.RollbackRequest{Snapshot: "one"})), cluster.ErrConflict, "db would be stopped")
	refused(second(back(api.RollbackRequest{Snapshot: "two", Stop: true})), cluster.ErrNotFound, "two")
	epoch := s.dataset("db").Epoch
	yes := api.RollbackRequest{Snapshot: "one", Stop: true}
	reply, err := back(yes)
	if err != nil || reply.Dataset.Rollback == nil || !strings.HasPrefix(reply.Kept.Name, "before-rollback-") {
		t.Fatalf("got %+v, %v", reply, err)
	}
	if again, err := back(yes); err != nil || again.Kept.ID != reply.Kept.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	refused(second(s.service.CreateMove(t.Context(), "test", api.MoveRequest{Application: "db", Node: "b"})), cluster.ErrConflict, "rolled back")
	for _, name := range []string{"one", reply.Kept.Name} {
		refused(second(s.service.DeleteSnapshot(t.Context(), "test", "db", name)), cluster.ErrConflict, "rolled back")
	}
	done := func(node string) error {
		return second(s.service.ReportSnapshots(t.Context(), s.actors[node].id, api.SnapshotReport{
			Session: s.actors[node].session, RolledBack: []api.RolledBack{{Dataset: reply.Dataset.ID, Kept: reply.Kept.ID}},
		}))
	}
	wantError(t, done("b"), cluster.ErrConflict)
	for range 2 { // the second, because the answer to the first was lost
		if err := done("a"); err != nil {
			t.Fatal(err)
		}
	}
	if d := s.dataset("db"); d.Rollback != nil || d.Epoch != epoch || len(d.Snapshots) != 2 {
		t.Errorf("got %+v; want no rollback left, the same epoch, both snapshots", d.Dataset)
	}
}

func TestARollbackOnStorageThatCannotIsRefused(t *testing.T) {
	t.Parallel()
	s := takenStage(t, "a")
	s.holding("a", cluster.Copy{Dataset: "db", Snapshots: []cluster.Snapshot{physical(6)}}, cluster.Capabilities{Replicates: true, Snapshots: true})
	err := second(s.service.RollBack(t.Context(), "test", "db", api.RollbackRequest{Snapshot: "one", Stop: true}))
	wantError(t, err, cluster.ErrPrecondition)
	if !strings.Contains(err.Error(), "cannot go back to a snapshot; clone") {
		t.Errorf("got %v; want the reason and what to do", err)
	}
}

func TestARollbackToWhatTheOwnerLacksSaysWhereItIs(t *testing.T) {
	t.Parallel()
	s := takenStage(t, "a", "b")
	d := s.dataset("db")
	s.holding("a", cluster.Copy{Dataset: "db"}, disks())
	yes := api.RollbackRequest{Snapshot: "one", Stop: true}
	says := func(text string) {
		t.Helper()
		err := second(s.service.RollBack(t.Context(), "test", "db", yes))
		wantError(t, err, cluster.ErrPrecondition)
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %v; want it to say %q", err, text)
		}
	}
	says("no node reports that it has it")
	s.report("b", cluster.Observed{Copies: map[cluster.DatasetID]cluster.Copy{d.ID: {Dataset: d.ID, Snapshots: []cluster.Snapshot{physical(6)}}}})
	says("it is on b; move the dataset there first")
	if got := s.only("db"); got.Reason != "it is not on node a, which owns the dataset" || len(got.Nodes) != 1 || got.Nodes[0] != "b" {
		t.Errorf("got %+v", got)
	}
	s.die("b")
	err := s.service.ForgetNode(t.Context(), "test", "b")
	wantError(t, err, cluster.ErrConflict)
	if !strings.Contains(err.Error(), "the only one with snapshot one of dataset db") {
		t.Errorf("got %v", err)
	}
}
