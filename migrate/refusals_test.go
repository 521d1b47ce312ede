// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

// What stands in the way is found before anything is stopped, and named.
func TestMoveThatCannotBeIsRefused(t *testing.T) {
	cases := map[string]struct {
		arrange func(w *world)
		change  func(m *cluster.Move)
		reason  string
	}{
		"the disk of the target is too small": {
			arrange: func(w *world) {
				w.until("the data is there", func() bool {
					return w.machines[alpha].disk.Write(data, "big", make([]byte, 60<<20)) == nil
				})
				fill(w, 60<<20)
			},
			reason: "MiB are free, 130 MiB are needed",
		},
		"a port is taken on the target": {
			arrange: func(w *world) { w.machines[beta].inUse = map[string]string{"5432/tcp": "postgres (pid 7)"} },
			reason:  "port 5432/tcp of application db: postgres (pid 7) listens on it on beta (stop that, or choose another external port)",
		},
		"the image is nowhere": {
			arrange: func(w *world) {
				w.machines[beta].eng.change(func(e *engine) { e.registry = nil })
				w.machines[alpha].eng.change(func(e *engine) { e.images = nil })
			},
			reason: "image db:1",
		},
		"the container's name is taken on the target": {
			arrange: func(w *world) { w.machines[beta].eng.change(func(e *engine) { e.foreign = "flocker--db" }) },
			reason:  "name application db: a container of that name, which is not Flocker's, is on beta",
		},
		"a foreign container uses the dataset": {
			arrange: func(w *world) {
				a := w.machines[alpha]
				a.mu.Lock()
				defer a.mu.Unlock()
				a.foreign = "nosy"
			},
			reason: "is used by container nosy on alpha",
		},
		"a live move": {
			change: func(m *cluster.Move) { m.Mode = cluster.ModeLive },
			reason: "live moves are not supported by this version",
		},
		"the hook fails": {
			arrange: func(w *world) {
				w.machines[alpha].eng.change(func(e *engine) { e.hookFails = true })
				w.withApplication(func(a *cluster.Application) { a.Hooks.Quiesce = []string{"quiesce"} })
			},
			reason: "the command ended with 3: disk is on fire",
		},
		"an unknown preset": {
			arrange: func(w *world) { w.withApplication(func(a *cluster.Application) { a.Hooks.Preset = "oracle" }) },
			reason:  `has the unknown preset "oracle"`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start(nil)
			if c.arrange != nil {
				c.arrange(w)
			}
			m := w.end(w.ask(beta, c.change))
			if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, c.reason) {
				t.Errorf("ended as %s: %s", m.Phase, m.Reason)
			}
			if w.machines[alpha].eng.stops > 0 {
				t.Error("the application was stopped")
			}
			if left := w.machines[beta].eng.names(); len(left) > 0 {
				t.Errorf("containers are left on the target: %v", left)
			}
		})
	}
}

// fill takes room on beta.
func fill(w *world, bytes int) {
	const other cluster.DatasetID = "dddddddd-dddd-4ddd-8ddd-dddddddddddd"
	b := w.machines[beta]
	if err := b.pool.Create(w.t.Context(), backend.Spec{Dataset: other, Epoch: 1}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := b.pool.Mount(w.t.Context(), other); err != nil {
		w.t.Fatal(err)
	}
	if err := b.disk.Write(other, "ballast", make([]byte, bytes)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) withApplication(change func(*cluster.Application)) {
	w.state.change(func(d *cluster.Desired) {
		app := d.Applications["db"]
		change(&app)
		d.Applications["db"] = app
	})
}

// The room that was there in preflight is gone when the copy comes.
func TestDiskThatFillsDuringTheCopyAbortsTheMove(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.until("the data is there", func() bool {
		return w.machines[alpha].disk.Write(data, "big", make([]byte, 1<<20)) == nil
	})
	id := w.ask(beta, func(m *cluster.Move) { m.Options.Bandwidth = 1 << 20 })
	w.until("the copy runs", func() bool { return w.move(id).Phase == cluster.MoveCopying })
	fill(w, disk-1<<19)
	m := w.end(id)
	if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "no space left") {
		t.Errorf("ended as %s: %s", m.Phase, m.Reason)
	}
	copies, err := w.machines[beta].disk.List(t.Context())
	for _, c := range copies {
		if c.Dataset == data || err != nil {
			t.Errorf("half a copy is left: %+v %v", c, err)
		}
	}
}

// Anyone may cancel until the hand-over; after it nobody may.
func TestCancelInEachPhase(t *testing.T) {
	for _, phase := range []cluster.MovePhase{
		cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveHandedOver, cluster.MoveCommitted,
	} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cancel := func() {
				w.state.change(func(d *cluster.Desired) {
					for id, m := range d.Moves {
						m.CancelRequested, m.Revision = true, d.Revision
						d.Moves[id] = m
					}
				})
			}
			w.onPhase(phase, cancel)
			w.start(nil)
			id := w.ask(beta, func(m *cluster.Move) { m.CancelRequested = phase == cluster.MovePlanned })
			m := w.end(id)
			want := cluster.MoveAborted
			if !phase.BeforeHandOver() {
				want = cluster.MoveCleaned
			}
			if m.Phase != want {
				t.Errorf("cancelled while %s, ended as %s: %s", phase, m.Phase, m.Reason)
			}
		})
	}
}

// Moving back sends only what changed, since each end keeps the newest common snapshot.
func TestMoveBackSendsOnlyWhatChanged(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.until("the data is there", func() bool {
		return w.machines[alpha].disk.Write(data, "big", make([]byte, 1<<20)) == nil
	})
	there := w.end(w.ask(beta, nil))
	back := w.end(w.ask(alpha, nil))
	if there.Phase != cluster.MoveCleaned || back.Phase != cluster.MoveCleaned {
		t.Fatalf("there %s: %s; back %s: %s", there.Phase, there.Reason, back.Phase, back.Reason)
	}
	if there.Report.Bytes < 1<<20 || back.Report.Bytes > there.Report.Bytes/2 {
		t.Errorf("there %d bytes, back %d", there.Report.Bytes, back.Report.Bytes)
	}
}

func TestImageThatCannotBePulledComesFromTheSource(t *testing.T) {
	w := newWorld(t)
	w.machines[beta].eng.registry = nil
	w.start(nil)
	if m := w.end(w.ask(beta, nil)); m.Phase != cluster.MoveCleaned {
		t.Fatalf("ended as %s: %s", m.Phase, m.Reason)
	}
	if got := w.machines[beta].eng.images[image]; got != "the image" {
		t.Errorf("image %q", got)
	}
}

// A preset's command that costs little runs before each of the last two rounds, an owner's own before both. How many rounds come before
// depends on how fast this machine is.
func TestHookRunsBeforeTheLastTwoRounds(t *testing.T) {
	for want, hooks := range map[string]cluster.Hooks{
		"copy round %d, quiesce db, copy round %d, quiesce db, copy round %d": {Preset: "postgres"},
		"copy round %d, quiesce db, copy round %d, copy round %d":             {Preset: "postgres", Quiesce: []string{"quiesce"}},
	} {
		w := newWorld(t)
		w.start(nil)
		w.end(w.ask(beta, nil))
		w.withApplication(func(a *cluster.Application) { a.Hooks = hooks })
		hooked := w.end(w.ask(alpha, nil))
		n := hooked.Report.Rounds
		if hooked.Phase != cluster.MoveCleaned || n < 3 {
			t.Errorf("%s: %s; %d rounds", hooked.Phase, hooked.Reason, n)
		}
		var order []string
		for _, p := range hooked.Report.Phases {
			if strings.HasPrefix(p.Name, "copy round") || strings.HasPrefix(p.Name, "quiesce") {
				order = append(order, p.Name)
			}
		}
		want = fmt.Sprintf(want, n-2, n-1, n)
		if got := strings.Join(order, ", "); !strings.HasSuffix(got, want) || strings.Count(got, "quiesce") != strings.Count(want, "quiesce") {
			t.Errorf("phases %s; want %s", got, want)
		}
	}
}

// Rule 3: whoever still holds the data open keeps the move from happening.
func TestDataThatIsStillHeldIsNotHandedOver(t *testing.T) {
	for name, elsewhere := range map[string]bool{"by a process": false, "in another mount namespace": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start(nil)
			release, err := w.machines[alpha].disk.Hold(data, "a stray process", elsewhere)
			if err != nil {
				t.Fatal(err)
			}
			m := w.end(w.ask(beta, nil))
			if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "a stray process") {
				t.Errorf("ended as %s: %s", m.Phase, m.Reason)
			}
			release()
			if m := w.end(w.ask(beta, nil)); m.Phase != cluster.MoveCleaned {
				t.Errorf("after its release: %s: %s", m.Phase, m.Reason)
			}
		})
	}
}

func TestPreflightChangesNothingAndPredictsTheGap(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	a := w.machines[alpha].agent
	preflight := func(to cluster.NodeID) (ok bool, gap time.Duration, basis string) {
		desired, _ := a.view()
		report, err := a.node.Preflight(t.Context(), cluster.Move{
			ID: moving, Mode: cluster.ModeAuto, Source: alpha, Target: to, Phase: cluster.MovePlanned,
			Datasets: []cluster.DatasetID{data, more}, Applications: []string{"db"},
		}, desired)
		if err != nil {
			t.Fatal(err)
		}
		return report.OK(), report.PredictedGap.Std(), report.Basis
	}
	ok, gap, basis := preflight(beta)
	if !ok || gap <= 0 || !strings.Contains(basis, "no earlier move") {
		t.Errorf("ok %v, gap %v, basis %s", ok, gap, basis)
	}
	if left := w.machines[beta].eng.names(); len(left) > 0 {
		t.Errorf("the dry run made %v", left)
	}
	if ok, _, _ := preflight("33333333-3333-4333-8333-333333333333"); ok {
		t.Error("a move to an unknown node passes")
	}
	w.end(w.ask(beta, nil))
	w.end(w.ask(alpha, nil))
	if _, _, basis = preflight(beta); !strings.Contains(basis, "median of 2 earlier moves") {
		t.Errorf("basis %s", basis)
	}
}

func TestStopOfFollowsTheApplicationThenItsPreset(t *testing.T) {
	for _, c := range []struct {
		app     cluster.Application
		signal  string
		timeout time.Duration
	}{
		{cluster.Application{}, "", 10 * time.Second},
		{cluster.Application{Hooks: cluster.Hooks{Preset: "postgres"}}, "SIGINT", time.Minute},
		{cluster.Application{StopSignal: "SIGQUIT", Hooks: cluster.Hooks{Preset: "postgres"}}, "SIGQUIT", time.Minute},
		{cluster.Application{StopTimeout: cluster.Duration(time.Second), Hooks: cluster.Hooks{Preset: "redis"}}, "SIGTERM", time.Second},
	} {
		if signal, timeout := migrate.StopOf(c.app); signal != c.signal || timeout != c.timeout {
			t.Errorf("%+v: %q, %v", c.app, signal, timeout)
		}
	}
}
