// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// Event is one thing that can happen next.
type Event struct {
	Name string
	Do   func()
}

// Happen lets an event happen and checks the laws.
func (w *World) Happen(e Event) {
	e.Do()
	w.Check()
}

// Work lists what goes forward by itself: the agents, their functions, the post and the clients.
func (w *World) Work() []Event {
	var list []Event
	for _, id := range w.ids() {
		list = append(list, w.recovery(w.nodes[id])...)
		if n := w.nodes[id]; n.dark {
			list = append(list, Event{string(id) + ": its back end is seen again", func() { n.dark = false }})
		}
		list = append(list, w.agentWork(w.nodes[id])...)
	}
	for i, m := range w.post {
		list = append(list, Event{fmt.Sprintf("deliver %s from %s", m.what, m.from), func() { w.deliver(i, false) }})
	}
	for _, id := range w.ids() {
		if n := w.nodes[id]; n.heard(data) && !w.shutOut(n, data) {
			list = append(list, Event{"client writes on " + string(id), func() { w.scribble(n, true) }})
		}
	}
	return list
}

// recovery lists what comes back by itself.
func (w *World) recovery(n *node) []Event {
	event := func(name string, do func()) []Event { return []Event{{fmt.Sprintf("%s: %s", n.id, name), do}} }
	switch {
	case !n.up:
		return event("power on", func() { n.up = true })
	case n.lingers[data]:
		return event("no process keeps the data open", func() { clear(n.lingers) })
	case n.agent == nil:
		return event("agent starts", func() { w.boot(n) })
	case w.store.now.Nodes[n.id].Session != n.agent.session || n.agent.session == "":
		return event("agent connects", func() { w.connect(n) })
	}
	return nil
}

func (w *World) agentWork(n *node) []Event {
	a := n.agent
	if a == nil || a.session == "" {
		return nil
	}
	var list []Event
	add := func(name string, do func()) { list = append(list, Event{fmt.Sprintf("%s: %s", n.id, name), do}) }
	for _, id := range sorted(a.functions) {
		if f := a.functions[id]; f.at != done && !f.blocked(n) || f.at == done && f.waits && f.reply != nil {
			add("move "+string(f.at), func() { w.advance(n, f) })
		}
	}
	for _, object := range sorted(a.pending) {
		add("do "+a.pending[object].Kind(), func() { w.carryOut(n, object) })
	}
	if w.news(n) {
		add("plan", func() { w.round(n) })
	}
	if last := w.store.now.Revision; a.desired.Revision < last {
		add("read all", func() { w.read(n, last) })
		add("read on", func() { w.read(n, a.desired.Revision+1) })
	}
	if o := w.observe(n); !same(o, w.store.now.Elsewhere[n.id]) {
		add("report", func() {
			before := w.store.now
			w.store.report(o)
			w.checkTransition(before)
		})
	}
	return list
}

// news says whether planning would decide on anything.
func (w *World) news(n *node) bool {
	return slices.ContainsFunc(w.plan(n.agent.desired, w.observe(n)), func(s plan.Step) bool {
		_, wait := s.(plan.Wait)
		_, busy := n.agent.pending[s.Object()]
		return !wait && !busy
	})
}

// Trouble lists what can go wrong.
func (w *World) Trouble() []Event {
	var list []Event
	add := func(name string, do func()) { list = append(list, Event{name, do}) }
	for _, id := range w.ids() {
		list = append(list, w.nodeTrouble(w.nodes[id])...)
	}
	for i, m := range w.post {
		for range 5 { // machines are always there to fail, requests seldom
			add("deliver twice "+m.what, func() { w.deliver(i, true) })
			add("lose "+m.what, func() { w.post = slices.Delete(slices.Clone(w.post), i, i+1) })
		}
	}
	add("readiness flips", func() { w.unready = !w.unready })
	return list
}

// Wishes lists what people can ask for.
func (w *World) Wishes() []Event {
	var list []Event
	a := w.store.now.Applications[app]
	if a.Move != "" {
		return []Event{{"cancel", func() { w.store.cancel(a.Move) }}}
	}
	for _, id := range w.ids() {
		if id != a.Node && w.store.now.Datasets[data].Rollback == nil {
			list = append(list, Event{"ask for a move to " + string(id), func() { w.Move(id) }})
		}
	}
	return append(append(list, w.failOvers()...), w.keepWishes()...)
}

// Move asks for a move of the application.
func (w *World) Move(to cluster.NodeID) {
	w.moves++
	before := w.store.now
	w.store.begin(cluster.MoveID(fmt.Sprintf("m%d", w.moves)), app, to)
	w.checkTransition(before)
}

func (w *World) nodeTrouble(n *node) []Event {
	var list []Event
	add := func(name string, do func()) { list = append(list, Event{fmt.Sprintf("%s: %s", n.id, name), do}) }
	if !n.up {
		return nil
	}
	add("reboot", n.reboot)
	if n.mounted[data] && !n.lingers[data] {
		add("a process keeps the data open", func() { n.lingers[data] = true })
	}
	add("power off", func() { n.reboot(); n.up = false })
	if n.writes(data) {
		add("application writes unheard", func() { w.scribble(n, false) })
	}
	if b := n.boxes[app]; b.state == cluster.ContainerRunning {
		add("application ends", func() {
			b.state, b.ended = cluster.ContainerExited, n.agent != nil
			n.boxes[app] = b
		})
	}
	if w.store.now.Nodes[n.id].Session != "" {
		add("session expires", func() { w.store.expire(n.id) })
	}
	if n.agent == nil {
		return list
	}
	add("agent dies", func() { n.agent = nil })
	if !n.dark {
		add("its back end is not seen", func() { n.dark = true })
	}
	for _, id := range sorted(n.agent.functions) {
		for f := n.agent.functions[id]; f.blocked(n) && len(list) < 12; {
			add("no answer at "+string(f.at), func() { w.timeOut(f) })
		}
	}
	if m := w.store.now.Applications[app].Move; m != "" && n.agent.desired.Moves[m].Phase == cluster.MoveHandedOver {
		add("overdue", func() { n.agent.overdue[m] = true })
	}
	return list
}

// scribble is a write by the application; a client that is heard is answered when it is durable.
func (w *World) scribble(n *node, answered bool) {
	w.written++
	d := n.disks[data]
	d.data = append(slices.Clone(d.data), w.written)
	n.disks[data] = d
	if answered {
		w.acked[data] = append(slices.Clone(w.acked[data]), w.written)
	}
}

// evictions lists the nodes that may take over from one that is not heard, whether it lives or not, where the storage keeps it out.
func (w *World) evictions(owner *node) []Event {
	if d := w.store.now.Datasets[data]; w.net == nil || !d.Born || d.Eviction != (cluster.Eviction{}) || w.store.now.Nodes[owner.id].Session != "" {
		return nil
	}
	var list []Event
	for _, id := range w.ids() {
		if id != owner.id {
			list = append(list, Event{"take over to " + string(id), func() {
				before := w.store.now
				w.store.failOverUnfenced(app, id, data)
				w.evictable[w.store.now.Datasets[data].Eviction] = true
				w.checkTransition(before)
			}})
		}
	}
	return list
}

// failOvers lists the nodes that may take over from one that is truly off, by what the store knows, or that is only not heard.
func (w *World) failOvers() []Event {
	d, owner := w.store.now.Datasets[data], w.nodes[w.store.now.Datasets[data].Owner]
	if d.Move != "" || d.Adopt != "" || w.store.now.Nodes[owner.id].ID == "" {
		return nil
	}
	if owner.up {
		return w.evictions(owner)
	}
	var list []Event
	for _, id := range w.ids() {
		if w.net != nil && id != owner.id && d.Born {
			list = append(list, Event{"fail over to " + string(id), func() {
				w.store.failOver(app, id, w.store.now.Nodes[owner.id].BootID, map[cluster.DatasetID]string{data: ""})
			}})
		}
	}
	if w.net != nil {
		return list
	}
	for _, id := range w.ids() {
		c := w.store.now.Elsewhere[id].Copies[data]
		truth := w.nodes[id].disks[data]
		if id == owner.id || c.Head || truth.head || len(c.Snapshots) == 0 {
			continue
		}
		adopt := c.Snapshots[len(c.Snapshots)-1].Name
		i := slices.IndexFunc(truth.snaps, func(s snap) bool { return s.Name == adopt })
		if i < 0 {
			continue
		}
		list = append(list, Event{"fail over to " + string(id), func() {
			w.acked[data] = slices.DeleteFunc(slices.Clone(w.acked[data]), func(n int) bool { return !slices.Contains(truth.snaps[i].data, n) })
			w.failedOver = true
			w.store.failOver(app, id, w.store.now.Nodes[owner.id].BootID, map[cluster.DatasetID]string{data: adopt})
		}})
	}
	return list
}
