// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

func TestMoveAndBackAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.deploy("db", w.nodes[0], 1, nil)
	bulk := make([]byte, 1<<20)
	if err := w.nodes[0].disk.Write(w.dataset("db-0"), "bulk", bulk); err != nil {
		t.Fatal(err)
	}
	there := w.move("db", w.nodes[1])
	if there.Phase != cluster.MoveCleaned || there.Report == nil || there.Report.Bytes < int64(len(bulk)) {
		t.Fatalf("the move there ended as %s with report %+v: %s", there.Phase, there.Report, there.Reason)
	}
	if there.Report.Gap <= 0 || len(there.Report.Phases) == 0 {
		t.Errorf("the gap is not shown: %+v", there.Report)
	}
	back := w.move("db", w.nodes[0])
	if back.Phase != cluster.MoveCleaned || back.Report == nil {
		t.Fatalf("the move back ended as %s with report %+v: %s", back.Phase, back.Report, back.Reason)
	}
	if back.Report.Bytes > int64(len(bulk))/4 {
		t.Errorf("the move back sent %d bytes; only what changed is to be sent", back.Report.Bytes)
	}
}

// Several moves are under way at once: of applications with several datasets and with none, in both directions, and of
// a dataset that no application uses.
func TestSeveralMovesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.deploy("wide", w.nodes[0], 3, nil)
	w.deploy("db", w.nodes[1], 1, nil)
	w.deploy("bare", w.nodes[0], 0, nil)
	lone, err := w.user.CreateDataset(t.Context(), api.DatasetRequest{Name: "lone", Node: w.nodes[0].name})
	if err != nil {
		t.Fatal(err)
	}
	w.until("the lone dataset is mounted", func() bool { return w.nodes[0].disk.Writable(lone.ID) })
	if err := w.nodes[0].disk.Write(lone.ID, "file", []byte("by hand")); err != nil {
		t.Fatal(err)
	}
	ids := []cluster.MoveID{w.ask("wide", w.nodes[1]), w.ask("db", w.nodes[0]), w.ask("bare", w.nodes[1])}
	m, err := w.user.CreateMove(t.Context(), api.MoveRequest{Dataset: "lone", Node: w.nodes[1].name})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range append(ids, m.ID) {
		if m := w.wait(id); m.Phase != cluster.MoveCleaned {
			t.Errorf("the move of %v %v ended as %s: %s", m.Applications, m.Datasets, m.Phase, m.Reason)
		}
	}
	w.rest()
	files, err := w.nodes[1].disk.Files(lone.ID)
	if err != nil || string(files["file"]) != "by hand" {
		t.Errorf("the lone dataset on the target: %v, %v", files, err)
	}
}

// Anyone may cancel until the hand-over; before the cut-over the application does not notice.
func TestCancelAtEachPhase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	began := source.started("db")
	cancelAt := func(point string) (cluster.Move, error) {
		refused := make(chan error, 1)
		source.at(point, func() {
			moves, err := w.user.Moves(t.Context())
			if err == nil {
				_, err = w.user.CancelMove(t.Context(), string(moves[0].ID))
			}
			refused <- err
		})
		return w.move("db", target), <-refused
	}
	for _, point := range migrate.SourcePoints()[:9] {
		m, err := cancelAt(point)
		if err != nil || m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "cancelled by") {
			t.Errorf("cancelled at %s (%v): %s: %s", point, err, m.Phase, m.Reason)
		}
		if stopped := !source.started("db").Equal(began); stopped && beforeCut(point) {
			t.Errorf("cancelled at %s: the application was stopped", point)
		}
		if c, here := target.copyOf(w.dataset("db-0")); here && c.Head {
			t.Errorf("cancelled at %s: a head is left on the target", point)
		}
		began = source.started("db")
	}
	if m, err := cancelAt(migrate.AfterHandOver); !errors.Is(err, cluster.ErrConflict) || m.Phase != cluster.MoveCleaned {
		t.Errorf("cancelled after the hand-over (%v): %s: %s", err, m.Phase, m.Reason)
	}
}

func beforeCut(point string) bool {
	return point == migrate.BeforePreparing || point == migrate.AfterPreparing || point == migrate.BeforeCopying ||
		point == migrate.AfterCopying || point == migrate.BeforeCutting
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.deploy("db", w.nodes[0], 1, nil)
	w.rest()
	before := []map[string]int{w.nodes[0].changes(), w.nodes[1].changes()}
	began := w.nodes[0].started("db")
	report, err := w.user.Preflight(t.Context(), api.MoveRequest{Application: "db", Node: w.nodes[1].name})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.PredictedGap <= 0 || report.PredictedGap > cluster.Duration(10*time.Second) || report.Bytes == 0 || report.Basis == "" {
		t.Errorf("report %+v", report)
	}
	w.rest()
	if diff := cmp.Diff(before, []map[string]int{w.nodes[0].changes(), w.nodes[1].changes()}); diff != "" {
		t.Errorf("the dry run did something: %s", diff)
	}
	if !w.nodes[0].started("db").Equal(began) {
		t.Error("the application was stopped")
	}
}
