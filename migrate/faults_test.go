// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

// Promise 3 for each point at which a process can die: with nobody's help the move
// completes or never happened, nothing acknowledged is lost, nobody serves twice.
func TestAgentDiesAtEachPoint(t *testing.T) {
	cases := map[cluster.NodeID][]string{
		alpha: migrate.SourcePoints(),
		beta:  migrate.TargetPoints(),
	}
	for kind, open := range worlds() {
		for id, points := range cases {
			for _, point := range points {
				t.Run(kind+map[cluster.NodeID]string{alpha: "source ", beta: "target "}[id]+point, func(t *testing.T) {
					t.Parallel()
					w := open(t)
					w.start(map[cluster.NodeID][]string{id: {point}})
					dead := w.machines[id].agent
					id := w.ask(beta, nil)
					w.until("the process to pass "+point, func() bool { return !dead.alive() }) // perhaps after the move's end
					m := w.end(id)
					t.Logf("ended as %s after %v", m.Phase, phases(w))
				})
			}
		}
	}
}

// A node that loses power loses mounts, processes and rules with it.
func TestNodeRebootsAtEachPoint(t *testing.T) {
	for kind, open := range worlds() {
		for id, points := range map[cluster.NodeID][]string{alpha: migrate.SourcePoints(), beta: migrate.TargetPoints()} {
			for _, point := range points {
				t.Run(kind+map[cluster.NodeID]string{alpha: "source ", beta: "target "}[id]+point, func(t *testing.T) {
					t.Parallel()
					w := open(t)
					w.machines[id].rebootOnDeath = true
					w.start(map[cluster.NodeID][]string{id: {point}})
					m := w.end(w.ask(beta, nil))
					t.Logf("ended as %s after %v", m.Phase, phases(w))
				})
			}
		}
	}
}

// Both agents die, in the order of the points.
func TestBothAgentsDie(t *testing.T) {
	for _, source := range []string{migrate.AfterNote, migrate.AfterHandOver, migrate.BeforeCleaned} {
		for _, target := range migrate.TargetPoints() {
			t.Run(source+" and "+target, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.start(map[cluster.NodeID][]string{alpha: {source}, beta: {target}})
				m := w.end(w.ask(beta, nil))
				t.Logf("ended as %s after %v", m.Phase, phases(w))
			})
		}
	}
}

// The interleavings of rule 1: an answer that is lost, a request that is delivered
// after its sender gave up or died, and a control service that is away.
func TestStoreAnswersAreLost(t *testing.T) {
	for _, action := range []api.MoveAction{api.ActionHandOver, api.ActionCommit, api.ActionAbort, api.ActionTakeBack, api.ActionClean} {
		for _, delivered := range []bool{true, false} {
			name := string(action) + " not delivered"
			if delivered {
				name = string(action) + " delivered"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				var times atomic.Int32
				w.state.meet = func(_ cluster.NodeID, tr api.MoveTransition) (bool, error) {
					if tr.Action == action && times.Add(1) <= 2 {
						return delivered, errNoAnswer
					}
					return true, nil
				}
				w.start(nil)
				if action == api.ActionTakeBack {
					w.machines[beta].eng.misbehave = func(string) bool { return true }
				}
				if action == api.ActionAbort {
					w.machines[alpha].eng.hookFails = true
					w.state.change(func(d *cluster.Desired) {
						app := d.Applications["db"]
						app.Hooks.Quiesce = []string{"quiesce"}
						d.Applications["db"] = app
					})
				}
				m := w.end(w.ask(beta, nil))
				if times.Load() == 0 {
					t.Fatal("the transition was never asked for")
				}
				t.Logf("ended as %s after %v", m.Phase, phases(w))
			})
		}
	}
}

// A hand-over that the store carries out after its sender has died, and after the
// sender's next process has read the store.
func TestHandOverIsDeliveredAfterItsSenderDied(t *testing.T) {
	for name, late := range map[string]time.Duration{"at once": 0, "soon": 5 * time.Millisecond, "later": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			delivered := make(chan error, 1)
			w.state.meet = func(from cluster.NodeID, tr api.MoveTransition) (bool, error) {
				if tr.Action != api.ActionHandOver {
					return true, nil
				}
				time.AfterFunc(late, func() {
					d, _ := w.state.read()
					for id := range d.Moves {
						_, err := w.state.transition(from, id, tr)
						delivered <- err
					}
				})
				panic(crash{"while the hand-over was on its way"})
			}
			w.start(nil)
			m := w.end(w.ask(beta, nil))
			err := <-delivered
			if (err == nil) != (m.Phase == cluster.MoveCleaned || m.Phase == cluster.MoveTakenBack) {
				t.Errorf("the late hand-over was answered %v and the move ended as %s", err, m.Phase)
			}
			w.check()
			t.Logf("ended as %s after %v; late hand-over: %v", m.Phase, phases(w), err)
		})
	}
}

func TestControlIsAwayAfterTheStop(t *testing.T) {
	w := newWorld(t)
	var away atomic.Bool
	w.machines[alpha].eng.onStop = func(string) {
		away.Store(true)
		time.AfterFunc(300*time.Millisecond, func() { away.Store(false) })
	}
	w.state.meet = func(cluster.NodeID, api.MoveTransition) (bool, error) {
		if away.Load() {
			return false, cluster.ErrUnavailable
		}
		return true, nil
	}
	w.start(nil)
	m := w.end(w.ask(beta, nil))
	if m.Phase != cluster.MoveAborted {
		t.Errorf("ended as %s", m.Phase)
	}
}

func TestLinkIsCutDuringTheCutOver(t *testing.T) {
	w := newWorld(t)
	w.machines[alpha].eng.onStop = func(string) { w.machines[alpha].unplug(true) }
	w.start(nil)
	id := w.ask(beta, nil)
	var stopped time.Time
	w.until("the application stops", func() bool { return len(w.serving()) == 0 })
	stopped = time.Now()
	m := w.end(id)
	if m.Phase != cluster.MoveAborted {
		t.Errorf("ended as %s", m.Phase)
	}
	if took := time.Since(stopped); took > 6*time.Second {
		t.Errorf("it took %v until the application served again", took)
	}
}

func TestLinkIsCutAfterTheHandOver(t *testing.T) {
	for name, heal := range map[string]bool{"for good": false, "and heals": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.state.meet = func(_ cluster.NodeID, tr api.MoveTransition) (bool, error) {
				if tr.Action == api.ActionHandOver {
					w.machines[alpha].unplug(true)
					if heal {
						time.AfterFunc(200*time.Millisecond, func() { w.machines[alpha].unplug(false) })
					}
				}
				return true, nil
			}
			w.start(nil)
			m := w.end(w.ask(beta, nil))
			if m.Phase != cluster.MoveCleaned {
				t.Errorf("the target heard of the hand-over from the store and still it ended as %s: %s", m.Phase, m.Reason)
			}
		})
	}
}

func TestLinkThatComesAndGoesDuringTheCopyIsBorne(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	id := w.ask(beta, func(m *cluster.Move) { m.Options.Bandwidth = 20_000 })
	for range 3 {
		w.until("the copy runs", func() bool { return w.move(id).Phase == cluster.MoveCopying })
		w.machines[alpha].unplug(true)
		at := w.ackedCount()
		w.until("some time passes", func() bool { return w.ackedCount() > at+20 })
		w.machines[alpha].unplug(false)
	}
	if m := w.end(id); m.Phase != cluster.MoveCleaned {
		t.Errorf("ended as %s: %s", m.Phase, m.Reason)
	}
}

func TestLostAnswerOfTheTargetIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	var lost atomic.Int32
	w.machines[beta].replies = func(what string) error {
		if what == "resume" && lost.Add(1) <= 2 {
			return errors.New("connection reset")
		}
		return nil
	}
	w.start(nil)
	if m := w.end(w.ask(beta, nil)); m.Phase != cluster.MoveCleaned {
		t.Errorf("ended as %s: %s", m.Phase, m.Reason)
	}
}

func TestApplicationThatDoesNotGetReadyIsTakenBack(t *testing.T) {
	for name, break_ := range map[string]func(*world){
		"it ends at once": func(w *world) { w.machines[beta].eng.misbehave = func(string) bool { return true } },
		"it is not healthy": func(w *world) {
			w.machines[beta].eng.unhealthy = true
			w.state.change(func(d *cluster.Desired) {
				app := d.Applications["db"]
				app.Health = &cluster.HealthCheck{Command: []string{"healthy"}}
				d.Applications["db"] = app
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			break_(w)
			w.start(nil)
			m := w.end(w.ask(beta, func(m *cluster.Move) { m.Options.ReadyTimeout = cluster.Duration(300 * time.Millisecond) }))
			if m.Phase != cluster.MoveTakenBack {
				t.Fatalf("ended as %s: %s", m.Phase, m.Reason)
			}
			if !strings.Contains(m.Reason, "the last words") {
				t.Errorf("the reason does not show what the container said: %s", m.Reason)
			}
			if d, _ := w.state.read(); d.Datasets[data].Owner != alpha || d.Datasets[data].Epoch != 3 {
				t.Errorf("dataset %+v", d.Datasets[data])
			}
			w.machines[beta].eng.mu.Lock()
			w.machines[beta].eng.misbehave, w.machines[beta].eng.unhealthy = nil, false
			w.machines[beta].eng.mu.Unlock()
			if m := w.end(w.ask(beta, nil)); m.Phase != cluster.MoveCleaned {
				t.Errorf("the next move ended as %s: %s", m.Phase, m.Reason)
			}
		})
	}
}
