// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

// On network storage the volume is detached before the hand-over and attached after it; nothing is copied.
func TestMoveTakesTheVolumeAlong(t *testing.T) {
	w := newNetworkWorld(t)
	w.start(nil)
	m := w.end(w.ask(beta, nil))
	if m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	var inGap []string
	for _, p := range m.Report.Phases {
		if p.InGap {
			inGap = append(inGap, p.Name)
		}
	}
	for _, name := range []string{"unmount and proof", "detach", "hand over", "attach", "mount"} {
		if !slices.Contains(inGap, name) {
			t.Errorf("%q is not among the phases of the gap: %v", name, inGap)
		}
	}
	if order := []int{slices.Index(inGap, "detach"), slices.Index(inGap, "attach")}; order[0] > order[1] {
		t.Errorf("the volume was attached before it was detached: %v", inGap)
	}
	if m.Report.Bytes != 0 || !m.Report.Converged || m.Report.PredictedGap == 0 {
		t.Errorf("report %+v", m.Report)
	}
	if d, _ := w.state.read(); d.Datasets[data].Owner != beta || d.Datasets[data].Epoch != 2 {
		t.Errorf("dataset %+v", d.Datasets[data])
	}
}

// What can be done before the application stops is done by then: its volumes are flushed, and the target is ready to attach them.
func TestVolumesAreMadeReadyBeforeTheStop(t *testing.T) {
	for _, c := range []struct {
		op string
		at cluster.NodeID
	}{{"ready", beta}, {"flush", alpha}} {
		t.Run(c.op, func(t *testing.T) {
			t.Parallel()
			w := newNetworkWorld(t)
			var stopped atomic.Bool
			var before, after atomic.Int32
			w.machines[alpha].eng.onStop = func(string) { stopped.Store(true) }
			w.machines[c.at].storage = func(op string, id cluster.DatasetID) error {
				switch {
				case op != c.op || id != data:
				case stopped.Load():
					after.Add(1)
				default:
					before.Add(1)
				}
				return nil
			}
			w.start(nil)
			if m := w.end(w.ask(beta, nil)); m.Phase != cluster.MoveCleaned || before.Load() < 2 || after.Load() > 0 {
				t.Errorf("the move ended as %s: %s; asked %d times before the stop, %d after it", m.Phase, m.Reason, before.Load(), after.Load())
			}
		})
	}
}

// A target that cannot get ready to attach, or a volume that cannot be flushed, ends the move while the application runs.
func TestStoreRefusesBeforeTheGap(t *testing.T) {
	for op, at := range map[string]cluster.NodeID{"ready": beta, "flush": alpha} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			w := newNetworkWorld(t)
			var stopped atomic.Bool
			w.machines[alpha].eng.onStop = func(string) { stopped.Store(true) }
			w.machines[at].storage = func(did string, id cluster.DatasetID) error {
				if did == op && id == data {
					return fmt.Errorf("the store is away: %w", cluster.ErrInvalid)
				}
				return nil
			}
			w.start(nil)
			m := w.end(w.ask(beta, nil))
			if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "the store is away") || stopped.Load() {
				t.Errorf("the move ended as %s: %s; stopped: %v", m.Phase, m.Reason, stopped.Load())
			}
		})
	}
}

// What the target made ready for a move that comes to nothing is taken back.
func TestWhatWasMadeReadyIsTakenBack(t *testing.T) {
	w := newNetworkWorld(t)
	var ready atomic.Int32
	w.machines[beta].storage = func(op string, id cluster.DatasetID) error {
		switch {
		case id != data:
		case op == "ready":
			ready.Store(1)
		case op == "unready":
			ready.Store(0)
		}
		return nil
	}
	w.machines[alpha].storage = func(op string, id cluster.DatasetID) error {
		if op == "detach" && ready.Load() == 1 {
			return errors.New("the store is throttled")
		}
		return nil
	}
	w.start(nil)
	if m := w.end(w.ask(beta, nil)); m.Phase != cluster.MoveAborted {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	w.until("it is taken back", func() bool { return ready.Load() == 0 })
}

// A node that has another store is found before anything stops.
func TestTargetWithAnotherStoreIsRefused(t *testing.T) {
	stores := map[cluster.NodeID]*mem.Shelf{alpha: mem.NewShelf(), beta: mem.NewShelf()}
	w := newWorldOn(t, func(id cluster.NodeID) *mem.Shelf { return stores[id] })
	var stopped atomic.Bool
	w.machines[alpha].eng.onStop = func(string) { stopped.Store(true) }
	w.start(nil)
	m := w.end(w.ask(beta, nil))
	if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "not in the store that beta has") || stopped.Load() {
		t.Errorf("the move ended as %s: %s; stopped: %v", m.Phase, m.Reason, stopped.Load())
	}
}

// A volume that something still has open is neither detached nor handed over.
func TestVolumeThatIsHeldOpenStays(t *testing.T) {
	w := newNetworkWorld(t)
	w.start(nil)
	release, err := w.machines[alpha].disk.Hold(data, "a backup", true)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	m := w.end(w.ask(beta, nil))
	if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "a backup") {
		t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
	}
}

// A store that does not detach, or not attach, leaves the application where its volume can be.
func TestStoreRefusesInTheGap(t *testing.T) {
	for _, c := range []struct {
		op   string
		at   cluster.NodeID
		want cluster.MovePhase
	}{{"detach", alpha, cluster.MoveAborted}, {"attach", beta, cluster.MoveTakenBack}} {
		t.Run(c.op, func(t *testing.T) {
			t.Parallel()
			w := newNetworkWorld(t)
			var refused atomic.Bool
			w.machines[c.at].storage = func(op string, id cluster.DatasetID) error {
				if op == c.op && id == data && refused.CompareAndSwap(false, true) {
					return errors.New("the store is throttled")
				}
				return nil
			}
			w.start(nil)
			m := w.end(w.ask(beta, nil))
			if m.Phase != c.want || !strings.Contains(m.Reason, "throttled") {
				t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
			}
		})
	}
}

// A target that cannot serve gives the volume back, with what it wrote meanwhile, which nobody was answered.
func TestVolumeIsGivenBack(t *testing.T) {
	w := newNetworkWorld(t)
	w.machines[beta].eng.misbehave = func(string) bool { return true }
	w.start(nil)
	m := w.end(w.ask(beta, func(m *cluster.Move) { m.Options.ReadyTimeout = cluster.Duration(300 * time.Millisecond) }))
	if m.Phase != cluster.MoveTakenBack || !strings.Contains(m.Reason, "the last words") {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	if d, _ := w.state.read(); d.Datasets[data].Owner != alpha || d.Datasets[data].Epoch != 3 {
		t.Errorf("dataset %+v", d.Datasets[data])
	}
}

// A target that dies with the volume keeps the source waiting: only its own next process puts the volume down.
func TestSourceWaitsForTheVolumeOfADeadTarget(t *testing.T) {
	w := newNetworkWorld(t)
	w.start(map[cluster.NodeID][]string{beta: {migrate.AfterMount}})
	var again atomic.Bool
	w.machines[beta].holdBack = func() bool { return !again.Load() }
	id := w.ask(beta, func(m *cluster.Move) { m.Options.ReadyTimeout = cluster.Duration(300 * time.Millisecond) })
	w.until("the target is dead and its session over", func() bool {
		if w.machines[beta].agent.alive() {
			return false
		}
		w.state.change(func(d *cluster.Desired) {
			n := d.Nodes[beta]
			n.Session = ""
			d.Nodes[beta] = n
		})
		return true
	})
	w.until("the move is taken back", func() bool { return w.move(id).Phase == cluster.MoveTakenBack })
	w.until("the source reaches for the volume in vain", func() bool {
		a := w.machines[alpha].agent
		a.mu.Lock()
		defer a.mu.Unlock()
		return slices.ContainsFunc(a.errs, func(err error) bool { return strings.Contains(err.Error(), "attached to machine beta") })
	})
	if on := w.serving(); len(on) > 0 {
		t.Errorf("%s serves while nobody has the volume by right", on[0].name)
	}
	again.Store(true)
	if m := w.end(id); m.Phase != cluster.MoveTakenBack {
		t.Errorf("the move ended as %s", m.Phase)
	}
}
