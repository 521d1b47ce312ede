// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// keep asks for snapshots and waits until they are taken.
func (w *world) keep(r api.SnapshotRequest) []api.SnapshotInfo {
	w.t.Helper()
	asked, err := w.user.CreateSnapshots(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.taken(asked)
}

// taken waits until snapshots are taken, and returns them with their files looked for on the owners' disks.
func (w *world) taken(asked []api.SnapshotInfo) []api.SnapshotInfo {
	w.t.Helper()
	now := make([]api.SnapshotInfo, len(asked))
	w.until("the snapshots are taken", func() bool {
		for i, a := range asked {
			all, err := w.user.Snapshots(w.t.Context(), string(a.Dataset))
			if err != nil {
				return false
			}
			for _, s := range all {
				if s.ID == a.ID {
					now[i] = s
				}
			}
			if now[i].State != api.SnapshotTaken || len(now[i].Nodes) == 0 {
				return false
			}
		}
		return true
	})
	return now
}

// kept is the journal in a snapshot on a node.
func (n *node) kept(s api.SnapshotInfo) string {
	n.w.t.Helper()
	files, err := n.disk.SnapshotFiles(s.Dataset, s.Taken.Name)
	if err != nil {
		n.w.t.Errorf("snapshot %s of %s on %s: %v", s.Name, s.DatasetName, n.name, err)
	}
	return string(files[journal])
}

// pass lets clients of an application get some answers, if there are any to be had: one snapshot is then later than the others.
func (w *world) pass(app string) {
	enough := time.After(300 * time.Millisecond)
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for at := w.ledger.count(app); w.ledger.count(app) < at+3; {
		select {
		case <-tick.C:
		case <-enough:
			return
		}
	}
}

// One ask for an application gives snapshots of one instant, whoever dies while they are taken, and lets the application
// go on; each ask is one snapshot.
func TestAnApplicationsSnapshotsAreOfOneInstant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	w.deploy("db", n, 3, nil)
	const away = 200 * time.Millisecond
	for i, dies := range []func(){
		func() { n.at("snapshot", func() { w.pass("db") }) },
		func() { n.at("Pause", func() { n.current().crash(away) }) },
		func() { n.at("snapshot", func() { n.current().crash(away) }) },
		func() { n.at("Unpause", func() { n.current().crash(away) }) },
		func() { n.at("ReportSnapshots", func() { n.current().crash(away) }) },
		func() { n.at("ReportSnapshots", func() { w.service.crash(away) }) },
		func() { n.at("Unpause", func() { n.dockerAway(away) }) },
	} {
		name := fmt.Sprintf("keep-%d", i)
		dies()
		all := w.keep(api.SnapshotRequest{Application: "db", Name: name})
		if len(all) != 3 {
			t.Fatalf("%s: %d snapshots; want one of each dataset", name, len(all))
		}
		first := n.kept(all[0])
		for _, s := range all[1:] {
			if got := n.kept(s); got != first {
				t.Errorf("%s: %d bytes in %s, %d in %s: not one instant", name, len(first), all[0].DatasetName, len(got), s.DatasetName)
			}
		}
		w.served("db") // it is not left paused
	}
	w.rest()
	held, _ := n.copyOf(w.dataset("db-0"))
	if all, err := w.user.Snapshots(t.Context(), "db-0"); err != nil || len(all) != 7 {
		t.Errorf("%d snapshots of db-0, %v; want 7", len(all), err)
	}
	if left := len(held.Snapshots); left > 8 { // one that nobody asked for may be the newest
		t.Errorf("storage has %d snapshots of db-0: what was taken twice stays", left)
	}
}

// What was asked to be kept stays through moves; what is removed goes.
func TestKeptSnapshotsStayUntilTheyAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	home, other := w.nodes[0], w.nodes[1]
	w.deploy("db", home, 1, nil)
	first := w.keep(api.SnapshotRequest{Dataset: "db-0", Name: "first"})[0]
	before := home.kept(first)
	for _, to := range []*node{other, home, other} {
		if m := w.move("db", to); m.Phase != cluster.MoveCleaned {
			t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
		}
	}
	if after := home.kept(first); after != before {
		t.Errorf("the snapshot holds %d bytes, before it was %d", len(after), len(before))
	}
	if m := w.move("db", home); m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	if _, err := w.user.DeleteSnapshot(t.Context(), "db-0", "first"); err != nil {
		t.Fatal(err)
	}
	w.until("the snapshot is gone everywhere", func() bool {
		all, err := w.user.Snapshots(t.Context(), "db-0")
		here, _ := home.copyOf(first.Dataset)
		there, _ := other.copyOf(first.Dataset)
		return err == nil && len(all) == 0 && !here.Held(*first.Taken) && !there.Held(*first.Taken)
	})
	w.rest()
}

// A rollback makes the head what it was and keeps what it was before, whoever dies on the way; nothing of the application runs meanwhile,
// and it goes on afterwards.
func TestRollbackWhoeverDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	const away = 200 * time.Millisecond
	for i, dies := range []func(){
		func() {},
		func() { n.at("Stop", func() { n.current().crash(away) }) },
		func() { n.at("unmount", func() { n.current().crash(away) }) },
		func() { n.at("snapshot", func() { n.current().crash(away) }) },
		func() { n.at("revert", func() { n.current().crash(away) }) },
		func() { n.at("revert", func() { n.at("ReportSnapshots", func() { n.current().crash(away) }) }) },
		func() { n.at("revert", func() { n.at("ReportSnapshots", func() { w.service.crash(away) }) }) },
		func() { n.at("revert", n.reboot) },
	} {
		app := fmt.Sprintf("db%d", i)
		w.deploy(app, n, 1, nil)
		to := w.keep(api.SnapshotRequest{Dataset: app + "-0", Name: "to"})[0]
		w.served(app)
		if _, err := w.user.RollBack(t.Context(), app+"-0", api.RollbackRequest{Snapshot: "to"}); !errors.Is(err, cluster.ErrConflict) {
			t.Fatalf("without consent to the stop: %v", err)
		}
		dies()
		reply, err := w.user.RollBack(t.Context(), app+"-0", api.RollbackRequest{Snapshot: "to", Stop: true})
		if err != nil {
			t.Fatal(err)
		}
		w.until("the rollback is done", func() bool {
			d, err := w.user.Dataset(t.Context(), app+"-0")
			return err == nil && d.Rollback == nil
		})
		kept := w.taken([]api.SnapshotInfo{reply.Kept})[0]
		if before, was := n.kept(kept), n.kept(to); !strings.HasPrefix(before, was) || len(before) <= len(was) {
			t.Errorf("case %d: kept is %q, which is not what came after %q", i, before, was)
		}
		w.served(app)
		acked := w.ledger.answers(app) // before the look at the data
		files, err := n.disk.Files(to.Dataset)
		since, follows := strings.CutPrefix(string(files[journal]), n.kept(to))
		if err != nil || !follows || strings.HasPrefix(since, strings.TrimPrefix(n.kept(kept), n.kept(to))) {
			t.Errorf("case %d: the head is %q, %v; want what follows %q", i, files[journal], err, n.kept(to))
		}
		for _, complaint := range complaints(app, acked, n.kept(kept)+since) {
			t.Errorf("case %d: neither kept nor written since: %s", i, complaint)
		}
	}
}

// What is kept goes along when the dataset moves, to a node that has nothing of it and to one that has an older replica, so that
// the new owner can be rolled back to it.
func TestKeptSnapshotsGoAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.deploy("db", w.nodes[0], 1, nil)
	id := w.dataset("db-0")
	bulk := make([]byte, 1<<20)
	if err := w.nodes[0].disk.Write(id, "bulk", bulk); err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	keep := func(name string, on *node) {
		s := w.keep(api.SnapshotRequest{Dataset: "db-0", Name: name})[0]
		texts[name] = on.kept(s)
		w.served("db")
	}
	keep("one", w.nodes[0])
	keep("two", w.nodes[0])
	for i, to := range []*node{w.nodes[1], w.nodes[2], w.nodes[0], w.nodes[1]} {
		m := w.move("db", to)
		if m.Phase != cluster.MoveCleaned {
			t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
		}
		if i > 1 && m.Report.Bytes > int64(len(bulk))/4 {
			t.Errorf("%d bytes were sent to a node that has a replica", m.Report.Bytes)
		}
		all, err := w.user.Snapshots(t.Context(), "db-0")
		if err != nil || len(all) != len(texts) {
			t.Fatalf("%d snapshots, %v; want %d", len(all), err, len(texts))
		}
		for _, s := range w.taken(all) {
			if got := to.kept(s); got != texts[s.Name] {
				t.Errorf("after move %d, snapshot %s on %s is %q, was %q", i, s.Name, to.name, got, texts[s.Name])
			}
			if s.Nodes[0] != to.name || s.Reason != "" {
				t.Errorf("after move %d, snapshot %s is on %v: %s", i, s.Name, s.Nodes, s.Reason)
			}
		}
		keep(fmt.Sprintf("after-%d", i), to)
	}
	if _, err := w.user.RollBack(t.Context(), "db-0", api.RollbackRequest{Snapshot: "one", Stop: true}); err != nil {
		t.Fatal(err)
	}
	w.until("the rollback is done", func() bool {
		d, err := w.user.Dataset(t.Context(), "db-0")
		return err == nil && d.Rollback == nil
	})
	w.served("db")
	if m := w.wait(w.ask("db", w.nodes[2])); m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move after the rollback ended as %s: %s", m.Phase, m.Reason)
	}
	w.served("db")
	files, err := w.nodes[2].disk.Files(id)
	if err != nil || !strings.HasPrefix(string(files[journal]), texts["one"]) || strings.HasPrefix(string(files[journal]), texts["two"]) {
		t.Errorf("after the rollback and a move the head is %q, %v", files[journal], err)
	}
}

// A clone holds what its snapshot holds, is written without touching it, goes with its moves, and outlives its origin; one of what the
// dataset is now leaves no snapshot behind.
func TestClonesWhoeverDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	n := w.nodes[0]
	w.deploy("db", n, 2, nil)
	const away = 200 * time.Millisecond
	all := w.keep(api.SnapshotRequest{Application: "db", Name: "to"})
	born := func(name string) cluster.DatasetID {
		w.until("clone "+name+" is mounted", func() bool {
			d, err := w.user.Dataset(t.Context(), name)
			return err == nil && d.Born && d.Path != ""
		})
		return w.dataset(name)
	}
	for i, dies := range []func(){
		func() {},
		func() { n.at("clone", func() { n.current().crash(away) }) },
		func() { n.at("clone", func() { n.at("Report", func() { n.current().crash(away) }) }) },
		func() { n.at("clone", func() { w.service.crash(away) }) },
	} {
		dies()
		for _, s := range all {
			name := fmt.Sprintf("%s-clone-%d", s.DatasetName, i)
			if _, err := w.user.CloneDataset(t.Context(), s.DatasetName, api.CloneRequest{Name: name, Snapshot: "to"}); err != nil {
				t.Fatal(err)
			}
			files, err := n.disk.Files(born(name))
			if err != nil || string(files[journal]) != n.kept(s) || len(files[journal]) == 0 {
				t.Errorf("%s holds %q, %v; want %q", name, files[journal], err, n.kept(s))
			}
		}
	}
	if _, err := w.user.CloneDataset(t.Context(), "db-0", api.CloneRequest{Name: "now"}); err != nil {
		t.Fatal(err)
	}
	now := born("now")
	w.until("only what was asked for is kept", func() bool {
		left, err := w.user.Snapshots(t.Context(), "db-0")
		return err == nil && len(left) == 1
	})
	if err := n.disk.Write(now, journal, []byte("its own")); err != nil {
		t.Fatal(err)
	}
	m, err := w.user.CreateMove(t.Context(), api.MoveRequest{Dataset: "now", Node: w.nodes[1].name})
	if err != nil {
		t.Fatal(err)
	}
	if m := w.wait(m.ID); m.Phase != cluster.MoveCleaned {
		t.Errorf("the move of a clone ended as %s: %s", m.Phase, m.Reason)
	}
	w.rest()
	files, err := w.nodes[1].disk.Files(now)
	if err != nil || string(files[journal]) != "its own" {
		t.Errorf("the clone on its new node holds %q, %v", files[journal], err)
	}
}

// The hooks of what runs on a dataset run before its snapshot, where that is asked for.
func TestQuiesceRunsTheHooksFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	w.deploy("db", n, 1, func(a *cluster.Application) { a.Hooks.Quiesce = []string{"flush"} })
	w.keep(api.SnapshotRequest{Dataset: "db-0", Name: "plain"})
	before := n.changes()["hook flush"]
	w.keep(api.SnapshotRequest{Dataset: "db-0", Name: "quiesced", Quiesce: true})
	w.keep(api.SnapshotRequest{Application: "db", Name: "together", Quiesce: true})
	if after := n.changes()["hook flush"]; before != 0 || after != 2 {
		t.Errorf("the hook ran %d times without being asked for, and %d times for two snapshots", before, after)
	}
}
