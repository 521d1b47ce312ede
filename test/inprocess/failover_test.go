// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"slices"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// asking has an application taken over by itself; it may lose what a replica lacks.
func asking(a *cluster.Application) {
	a.FailOver = &cluster.FailOver{MaxLoss: cluster.Duration(time.Hour)}
}

// confined waits until the control service knows whom a node has confined.
func (w *world) confined(n *node, apps ...string) {
	w.t.Helper()
	w.until(n.name+" tells whom it has confined", func() bool {
		all, err := n.net.Confined(w.t.Context())
		return err == nil && len(all) == len(apps)
	})
	n.looksAgain()
}

// onlyAt waits until an application is heard from one node, and is heard from no other at any time.
func (w *world) onlyAt(app string, n *node) {
	w.t.Helper()
	w.until(app+" is heard from "+n.name, func() bool {
		w.lookAtTruth()
		return n.heard(app)
	})
	w.lookAtTruth()
	if i := slices.IndexFunc(w.nodes, func(o *node) bool { return o != n && o.heard(app) }); i >= 0 {
		w.t.Errorf("%s is heard from %s too", app, w.nodes[i].name)
	}
}

// A node that lost the control service and works on is not heard any more when its application is taken over; when it is back it gives
// the application up without ever being heard.
func TestUnheardNodesApplicationIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(n *node){
		"it is cut off":     func(n *node) { n.uplink.set(silent) },
		"its agent is dead": func(n *node) { n.current().kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			one, two := w.nodes[0], w.nodes[1]
			w.deploy("web", one, 0, asking)
			w.confined(one, "web")
			lose(one)
			w.onlyAt("web", two)
			if !one.engine.Running("web") {
				t.Error("node1 has stopped it, so this shows nothing")
			}
			if one.current().over() {
				one.start()
			}
			one.uplink.set(up)
			w.rest()
		})
	}
}

// Replicas take over what they have, within what may be lost, and the former owner's copy stays until somebody removes it.
func TestUnheardNodesDatasetIsTakenOverByItsReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	one, two, three := w.nodes[0], w.nodes[1], w.nodes[2]
	w.deploy("db", two, 1, asking)
	w.move("db", one)
	id := w.dataset("db-0")
	w.confined(one, "db")
	kept := len(w.ledger.answers("db"))
	one.uplink.set(silent)
	w.onlyAt("db", two)
	w.served("db")
	one.uplink.set(up)
	w.until("node1 has given db up", func() bool {
		w.lookAtTruth()
		_, here := one.found("db")
		return !here
	})
	w.onlyAt("db", two)
	if c, there := one.copyOf(id); !there || !c.Divergent {
		t.Errorf("node1 has %+v of what it wrote alone", c)
	}
	if _, there := three.copyOf(id); there {
		t.Error("node3 has a copy that nobody made")
	}
	if kept == 0 || len(w.ledger.broken) > 0 {
		t.Errorf("%d answered before; never: %v", kept, w.ledger.broken)
	}
}

// Who asks to be taken over is not heard while nobody can say that it may be, and then again.
func TestWhoMayBeTakenOverIsHeardOnlyWithAWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	one := w.nodes[0]
	w.deploy("web", one, 0, asking)
	w.deploy("plain", one, 0, nil)
	w.confined(one, "web")
	started := one.started("web")
	w.service.kill()
	w.until("web is not heard", func() bool { return !one.heard("web") })
	if !one.heard("plain") || !one.started("web").Equal(started) {
		t.Error("what did not ask for it is not heard, or something was restarted")
	}
	w.service.start()
	w.until("web is heard again", func() bool { return one.heard("web") })
	w.rest()
	if !one.started("web").Equal(started) {
		t.Error("web was restarted")
	}
}

// Who takes the wish back is heard without the control service again, and not taken over.
func TestWhoNoLongerAsksIsNotTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	one := w.nodes[0]
	w.deploy("web", one, 0, asking)
	w.confined(one, "web")
	a, err := w.user.Application(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	a.FailOver, a.Node = nil, cluster.NodeID(one.name)
	if _, err := w.user.Deploy(t.Context(), api.DeployRequest{Applications: []cluster.Application{a.Application}}); err != nil {
		t.Fatal(err)
	}
	w.confined(one)
	one.uplink.set(silent)
	w.until("node1 is given up", func() bool {
		all, err := w.user.Nodes(t.Context())
		return err == nil && slices.ContainsFunc(all, func(n api.NodeInfo) bool { return n.ID == one.id && !n.IsAlive })
	})
	<-time.After(2 * time.Second) // in which it would be taken over
	if !one.heard("web") || w.nodes[1].heard("web") {
		t.Errorf("heard from node1: %t, from node2: %t", one.heard("web"), w.nodes[1].heard("web"))
	}
	one.uplink.set(up)
	w.rest()
}
