// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// same says whether two observations tell the store the same.
func same(a, b cluster.Observed) bool {
	told := a.Storage.Error != "" || maps.EqualFunc(a.Copies, b.Copies, sameCopy) // of what nobody sees nothing is told
	return a.Session == b.Session && a.BootID == b.BootID && a.Storage.Error == b.Storage.Error && told && reflect.DeepEqual(a.Containers, b.Containers)
}

func sameCopy(a, b cluster.Copy) bool {
	sameSnapshots := slices.Equal(a.Snapshots, b.Snapshots)
	a.Snapshots, b.Snapshots = nil, nil
	return sameSnapshots && reflect.DeepEqual(a, b)
}

// Start brings up what is down and connects what has no live session.
func (w *World) Start() {
	for _, id := range w.ids() {
		n := w.nodes[id]
		n.up, n.dark = true, false
		if n.agent == nil {
			w.boot(n)
		}
		if n.agent.session == "" || w.store.now.Nodes[id].Session != n.agent.session || n.agent.desired.Nodes[id].BootID != n.bootID() {
			w.connect(n)
		}
	}
}

// Settle ends all faults, lets everything go on, and checks I14: within a bounded number of rounds
// every move is over, the application serves at its owner, and nothing more happens.
func (w *World) Settle() {
	w.unready = false
	for _, n := range w.nodes {
		clear(n.lingers)
	}
	if w.rest(); len(w.wrong) == 0 {
		w.checkSettled()
	}
}

// rest lets everything go on until nothing more happens.
func (w *World) rest() {
	w.Start()
	for range 80 {
		before := w.fingerprint()
		w.pass()
		if len(w.wrong) > 0 {
			return
		}
		if len(w.post) == 0 && w.fingerprint() == before {
			return
		}
	}
	w.broken("I14: no rest after 80 rounds: %v", w.standing())
}

// pass lets each part go as far as it can without the others.
func (w *World) pass() {
	for len(w.post) > 0 {
		w.Happen(Event{"deliver", func() { w.deliver(0, false) }})
	}
	for _, id := range w.ids() {
		n := w.nodes[id]
		if !w.unread || id != w.ids()[0] {
			w.Happen(Event{"read", func() { w.read(n, w.store.now.Revision) }})
		}
		for _, m := range sorted(n.agent.functions) {
			f := n.agent.functions[m]
			if f.blocked(n) && !w.underWay(n, f) {
				w.timeOut(f)
			}
			for range 30 {
				if f.at == done && !f.waits || f.blocked(n) {
					break
				}
				w.Happen(Event{"advance", func() { w.advance(n, f) }})
			}
		}
		w.Happen(Event{"plan", func() { w.round(n) }})
		for _, object := range sorted(n.agent.pending) {
			w.Happen(Event{"do", func() { w.carryOut(n, object) }})
		}
		if o := w.observe(n); !same(o, w.store.now.Elsewhere[id]) {
			w.store.report(o)
		}
	}
}

// underWay says whether an answer to the function can still come.
func (w *World) underWay(n *node, f *function) bool {
	asked := slices.ContainsFunc(w.post, func(m message) bool { return m.agent == n.agent && m.move == f.latest.ID })
	target := w.nodes[f.latest.Target].agent.functions[f.latest.ID]
	return asked || f.at == takeBack && !f.target && target != nil && target.at != done
}

func (w *World) fingerprint() string {
	var b strings.Builder
	fmt.Fprint(&b, w.store.now.Revision)
	if w.net != nil {
		fmt.Fprint(&b, w.net.volumes)
	}
	for _, id := range w.ids() {
		n := w.nodes[id]
		fmt.Fprint(&b, n.disks, n.mounted, n.boxes, n.agent.desired.Revision, len(n.agent.pending))
		for _, m := range sorted(n.agent.functions) {
			fmt.Fprint(&b, m, n.agent.functions[m].at, n.agent.functions[m].waits)
		}
	}
	return b.String()
}

// standing is what each node's planner says, for messages.
func (w *World) standing() []string {
	var list []string
	for _, id := range w.ids() {
		n := w.nodes[id]
		for _, s := range w.plan(n.agent.desired, w.observe(n)) {
			list = append(list, fmt.Sprintf("%s %+v", id, s))
		}
	}
	return list
}

func (w *World) checkSettled() {
	now := w.store.now
	for id, m := range now.Moves {
		if !m.Phase.Terminal() {
			w.broken("I14: move %s rests as %s: %v", id, m.Phase, w.standing())
		}
	}
	a := now.Applications[app]
	if n := w.nodes[a.Node]; !n.heard(data) {
		w.broken("I14: %s does not serve on %s: %v", app, a.Node, w.standing())
	}
	for _, id := range w.ids() {
		n := w.nodes[id]
		for _, s := range w.plan(n.agent.desired, w.observe(n)) {
			wait, ok := s.(plan.Wait)
			if !ok || !w.failedOver || !strings.HasPrefix(wait.Reason, "divergent") {
				w.broken("I14: %s still has to %s %s: %+v", id, s.Kind(), s.Object(), s)
			}
		}
	}
	for id, d := range now.Datasets {
		if d.Rollback != nil || slices.ContainsFunc(d.Snapshots, func(k cluster.KeptSnapshot) bool { return k.Taken == nil }) {
			w.broken("I14: what was asked for of the snapshots of %s is not done: %+v", id, d)
		}
		if w.net == nil {
			w.checkCopy(id, now.Datasets[id].Owner)
		}
	}
}

// Phases counts the moves by the phase they are in.
func (w *World) Phases() map[cluster.MovePhase]int {
	count := map[cluster.MovePhase]int{}
	for _, m := range w.store.now.Moves {
		count[m.Phase]++
	}
	return count
}
