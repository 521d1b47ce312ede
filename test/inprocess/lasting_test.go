// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"slices"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

// power is that of whoever came to the point: all its processes, mounts and rules go, and a new boot begins at once.
func power() victim {
	return victim{name: "power"}
}

// A node that stays away for longer than its session lasts does not hold the move up, and finds its part when it is back.
func TestDeathThatLasts(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("sessions take 10 seconds to end")
	}
	for _, c := range []struct {
		victim victim
		point  string
		served func(source, target *node) *node // who serves meanwhile
		phase  cluster.MovePhase
	}{
		{victims()[1], migrate.AfterPreparing, theSource, ""},
		{victims()[1], migrate.AfterStop, theSource, cluster.MoveAborted},
		{victims()[1], migrate.BeforeResume, theSource, cluster.MoveTakenBack},
		{victims()[1], migrate.AfterStart, theSource, cluster.MoveTakenBack},
		{victims()[1], migrate.BeforeCommit, theSource, cluster.MoveTakenBack},
		{victims()[1], migrate.AfterExpose, theTarget, cluster.MoveCleaned},
		{victims()[0], migrate.AfterHandOver, theTarget, cluster.MoveCleaned},
		{victims()[0], migrate.BeforeCleaned, theTarget, cluster.MoveCleaned},
		{power(), migrate.BeforeCopying, theTarget, cluster.MoveCleaned},
		{power(), migrate.AfterNote, theSource, cluster.MoveAborted},
		{power(), migrate.AfterHandOver, theTarget, cluster.MoveCleaned},
		{power(), migrate.AfterStart, theSource, cluster.MoveTakenBack},
		{power(), migrate.AfterCommit, theTarget, cluster.MoveCleaned},
	} {
		t.Run(c.victim.name+" "+c.point, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			source, target := w.nodes[0], w.nodes[1]
			w.deploy("db", source, 1, nil)
			at := target
			if slices.Contains(migrate.SourcePoints(), c.point) {
				at = source
			}
			at.at(c.point, func() {
				if c.victim.kill == nil {
					at.reboot()
					return
				}
				c.victim.kill(w, source, target, 16*time.Second)
			})
			id := w.ask("db", target)
			w.until("someone serves", func() bool { return c.served(source, target).heard("db") })
			m := w.wait(id)
			w.rest()
			if c.phase != "" && m.Phase != c.phase {
				t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
			}
		})
	}
}

func theSource(source, _ *node) *node { return source }
func theTarget(_, target *node) *node { return target }

// A request that is delivered after its sender has died is the interleaving of rule 1: whoever wins, nothing is lost.
func TestRequestDeliveredAfterItsSenderDied(t *testing.T) {
	t.Parallel()
	actions := []api.MoveAction{api.ActionHandOver, api.ActionCommit, api.ActionTakeBack, api.ActionAbort, api.ActionClean}
	delays := []time.Duration{0, 30 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second}
	if testing.Short() {
		actions, delays = actions[:2], delays[1:3]
	}
	w := newWorld(t, 2)
	w.deploy("db", w.nodes[0], 2, nil)
	for _, action := range actions {
		for _, delay := range delays {
			w.deliversLate(action, delay)
		}
	}
}

// deliversLate moves the application; the first request of the kind arrives when its sender has been dead for a while.
func (w *world) deliversLate(action api.MoveAction, delay time.Duration) {
	w.t.Helper()
	source, target := w.nodes[0], w.nodes[1]
	if target.heard("db") {
		source, target = target, source
	}
	sender := source
	switch action { //nolint:exhaustive // the other actions have tests of their own
	case api.ActionCommit:
		sender = target
	case api.ActionTakeBack:
		sender = target
		target.make("db", ends)
	case api.ActionAbort:
		target.net.Listen(w.port("db"), "nginx")
	}
	answer := make(chan error, 1)
	sender.asks(action, func(deliver func() error) {
		w.after(delay, func() { answer <- deliver() })
		sender.current().crash(20 * time.Millisecond)
	})
	m := w.wait(w.ask("db", target))
	err := <-answer
	w.rest()
	target.make("db", well)
	if action == api.ActionAbort {
		target.net.Listen(w.port("db"), "")
	}
	w.t.Logf("%s delivered %v after the death of its sender (%v): %s: %s", action, delay, err, m.Phase, m.Reason)
	if action == api.ActionHandOver && (err == nil) != (m.Phase != cluster.MoveAborted) {
		w.t.Errorf("the late hand-over was answered %v, and the move ended as %s", err, m.Phase)
	}
}

// A target that is cut off from the control service cannot commit; the source takes its data back, and when the link is
// there again the target finds that out, without having served anyone.
func TestTargetCutOffFromControlNeverServes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the time to get ready has to pass")
	}
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	target.at(migrate.BeforeCommit, func() { target.uplink.set(silent) })
	m := w.wait(w.ask("db", target))
	if m.Phase != cluster.MoveTakenBack {
		t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	w.until("the application serves on the source", func() bool { return source.heard("db") })
	w.served("db")
	target.uplink.set(up)
	w.rest()
}

// A source that is cut off from the control service while its hand-over may be on its way starts nothing, and serves
// again once it has been able to abort.
func TestSourceCutOffFromControlWaitsForItsAbort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	source.at(migrate.BeforeHandOver, func() { source.uplink.set(broken) })
	aborting := make(chan struct{})
	source.at(migrate.BeforeAbort, func() { close(aborting) })
	id := w.ask("db", target)
	<-aborting
	at := source.looks()
	source.engine.SetForeign("passer-by", "/elsewhere") // something happens, so that the agent looks
	w.until("the agent has looked", func() bool { return source.looks() > at })
	if source.engine.Running("db") || source.disk.Writable(w.dataset("db-0")) {
		t.Error("the source began again before its abort was stored")
	}
	source.engine.SetForeign("passer-by")
	source.uplink.set(up)
	if m := w.wait(id); m.Phase != cluster.MoveAborted {
		t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	w.rest()
}
