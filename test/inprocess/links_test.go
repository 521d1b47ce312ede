// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

// A copy goes on where it was when the link comes back.
func TestLinkCutDuringTheCopyIsResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	const size = 1 << 20
	if err := source.disk.Write(w.dataset("db-0"), "bulk", make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	began := source.started("db")
	m, err := w.user.CreateMove(t.Context(), api.MoveRequest{
		Application: "db", Node: target.name, Options: cluster.MoveOptions{Bandwidth: size},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{size / 3, size * 2 / 3} {
		w.until("a part of the copy has come over", func() bool { return target.link.passed() > at })
		target.link.set(broken)
		target.link.set(up)
	}
	if !source.started("db").Equal(began) {
		t.Error("the application was stopped while its data was copied")
	}
	ended := w.wait(m.ID)
	w.rest()
	if ended.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", ended.Phase, ended.Reason)
	}
	// In the mem back end's stream a byte takes 4/3 of one.
	if sent := target.link.passed(); sent > size*2 {
		t.Errorf("%d bytes went over the link for a dataset of %d: it began again", sent, size)
	}
}

// A cut-over is abandoned within seconds when the target is not heard any more, whether connections break or nothing is said.
func TestLinkCutDuringTheCutOverIsAbandoned(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]state{"broken": broken, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			source, target := w.nodes[0], w.nodes[1]
			w.deploy("db", source, 1, nil)
			cut := make(chan time.Time, 1)
			source.at(migrate.AfterStop, func() {
				target.link.set(s)
				cut <- time.Now()
			})
			id := w.ask("db", target)
			since := <-cut
			w.until("the application serves on the source again", func() bool { return source.heard("db") })
			if gap := time.Since(since); gap > 8*time.Second {
				t.Errorf("the application was away for %v", gap)
			}
			if m := w.wait(id); m.Phase != cluster.MoveAborted {
				t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
			}
			target.link.set(up)
			w.rest()
			if m := w.move("db", target); m.Phase != cluster.MoveCleaned {
				t.Errorf("the next move ended as %s: %s", m.Phase, m.Reason)
			}
		})
	}
}

// After the hand-over the target hears of it from the store, and goes on without the source.
func TestLinkCutAfterTheHandOverChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	source.at(migrate.AfterHandOver, func() { target.link.set(broken) })
	m := w.wait(w.ask("db", target))
	if m.Phase != cluster.MoveCleaned {
		t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	target.link.set(up)
	w.rest()
}
