// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// mostKept bounds the snapshots that people ask for in one course.
const mostKept = 4

// keepWishes lists what people can ask for of snapshots while nothing moves.
func (w *World) keepWishes() []Event {
	d := w.store.now.Datasets[data]
	if w.net != nil || d.Move != "" || d.Rollback != nil || !d.Born {
		return nil
	}
	var list []Event
	if w.asked < mostKept {
		list = append(list, Event{"ask for a snapshot", func() { w.asked++; w.store.ask(cluster.SnapshotID(fmt.Sprint("k", w.asked))) }})
	}
	for _, k := range d.Snapshots {
		if k.Taken == nil || k.Removed {
			continue
		}
		list = append(list, Event{"remove a snapshot", func() { w.store.letGo(k) }})
		if w.store.now.Elsewhere[d.Owner].Copies[data].Held(*k.Taken) && w.asked < mostKept {
			list = append(list, Event{"ask for a rollback", func() { w.asked++; w.store.rollBack(k.ID, cluster.SnapshotID(fmt.Sprint("k", w.asked))) }})
		}
	}
	return list
}

func (s *store) changeData(change func(d cluster.Dataset) cluster.Dataset) {
	s.write(func(d *cluster.Desired) { d.Datasets[data] = change(d.Datasets[data]) })
}

func (s *store) ask(id cluster.SnapshotID) {
	s.changeData(func(d cluster.Dataset) cluster.Dataset {
		return d.WithSnapshot(cluster.KeptSnapshot{ID: id, Name: string(id)})
	})
}

func (s *store) letGo(k cluster.KeptSnapshot) {
	k.Removed = true
	s.changeData(func(d cluster.Dataset) cluster.Dataset { return d.WithSnapshot(k) })
}

func (s *store) rollBack(to, kept cluster.SnapshotID) {
	s.changeData(func(d cluster.Dataset) cluster.Dataset {
		d = d.WithSnapshot(cluster.KeptSnapshot{ID: kept, Name: string(kept)})
		d.Rollback = &cluster.Rollback{To: to, Kept: kept}
		return d
	})
}

// kept is a node's report of what it has done to snapshots; the session that it was sent in is compared.
func (s *store) kept(m message) {
	d := s.now.Datasets[data]
	k, asked := d.Kept(m.kept)
	switch {
	case s.now.Nodes[m.from].Session != m.session || d.Owner != m.from || !asked:
	case m.snapshot == nil && d.Rollback != nil && d.Rollback.Kept == m.kept:
		s.changeData(func(d cluster.Dataset) cluster.Dataset { d.Rollback = nil; return d })
	case m.snapshot != nil && k.Taken == nil && !k.Removed && m.snapshot.Epoch == d.Epoch:
		k.Taken = m.snapshot
		s.changeData(func(d cluster.Dataset) cluster.Dataset { return d.WithSnapshot(k) })
	}
}

// take takes what was asked for, or finds what this process had taken already, and tells the store.
func (w *World) take(n *node, s plan.TakeSnapshot) {
	w.checkStep(n, s)
	got, again := n.agent.taken[s.ID]
	if again = again && got.Epoch == s.Epoch && slices.ContainsFunc(n.disks[s.Dataset].snaps, func(o snap) bool { return o.ID == got.ID }); !again {
		if s.Still && (n.writes(s.Dataset) || n.mounted[s.Dataset]) {
			return
		}
		taken, ok := n.snapshot(s.Dataset)
		if !ok || taken.Epoch != s.Epoch {
			return
		}
		got = taken.Snapshot
		n.agent.taken[s.ID] = got
		w.content[got.ID] = taken.data
	}
	w.send(message{from: n.id, agent: n.agent, what: "taken", kept: s.ID, snapshot: &got, session: n.agent.session})
}

// revert puts the snapshot in the place of the head, if that is what was kept of it, and tells the store.
func (w *World) revert(n *node, s plan.Revert) {
	w.checkStep(n, s)
	d := n.disks[s.Dataset]
	find := func(name string) []int {
		i := slices.IndexFunc(d.snaps, func(o snap) bool { return o.Name == name })
		if i < 0 {
			return nil
		}
		return d.snaps[i].data
	}
	to, kept := find(s.Snapshot), find(s.Kept)
	switch {
	case !d.head || n.writes(s.Dataset) || n.mounted[s.Dataset]:
		return
	case w.bugs.RevertUnproven || slices.Equal(d.data, kept):
		d.data = slices.Clone(to)
		n.disks[s.Dataset] = d
		// What came after the snapshot is given up, with consent; it is in the one that was kept.
		for _, a := range w.acked[s.Dataset] {
			if count(to, a) == 0 && count(kept, a) != 1 {
				w.broken("I16: write %d to %s, which a client was answered, is not kept by the rollback", a, s.Dataset)
			}
		}
		w.acked[s.Dataset] = slices.DeleteFunc(slices.Clone(w.acked[s.Dataset]), func(a int) bool { return count(to, a) == 0 })
	case !slices.Equal(d.data, to):
		return
	}
	w.send(message{from: n.id, agent: n.agent, what: "rolled back", kept: s.ID, session: n.agent.session})
}

// sendKept is what goes ahead of a move's rounds.
func (w *World) sendKept(n, to *node, id cluster.DatasetID) {
	record := n.agent.desired.Datasets[id]
	d := to.disks[id]
	for _, s := range n.disks[id].snaps {
		if record.Keeps(s.Snapshot) && !slices.ContainsFunc(d.snaps, func(o snap) bool { return o.ID == s.ID }) {
			d.snaps = append(slices.Clone(d.snaps), s)
		}
	}
	slices.SortStableFunc(d.snaps, func(a, b snap) int { return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Serial, b.Serial)) })
	to.disks[id] = d
}

// checkKept is I16: what somebody asked to keep is somewhere, as it was when it was taken.
func (w *World) checkKept(id cluster.DatasetID) {
	for _, k := range w.store.now.Datasets[id].Snapshots {
		if k.Taken == nil || k.Removed {
			continue
		}
		if !slices.ContainsFunc(w.ids(), func(n cluster.NodeID) bool {
			return slices.ContainsFunc(w.nodes[n].disks[id].snaps, func(s snap) bool {
				return s.Name == k.Taken.Name && s.ID == k.Taken.ID && slices.Equal(s.data, w.content[s.ID])
			})
		}) {
			w.broken("I16: snapshot %s of %s, kept as %s, is nowhere", k.Name, id, k.Taken.ID)
		}
	}
}

// forgetGone drops the removed snapshots that their owner has let go.
func forgetGone(d cluster.Dataset, c cluster.Copy) cluster.Dataset {
	return d.WithoutSnapshots(func(k cluster.KeptSnapshot) bool { return k.Removed && (k.Taken == nil || !c.Held(*k.Taken)) })
}

// unrolled is a dataset that another node takes over: nobody can roll it back any more.
func unrolled(d cluster.Dataset) cluster.Dataset {
	if d.Rollback == nil {
		return d
	}
	kept := d.Rollback.Kept
	d.Rollback = nil
	return d.WithoutSnapshots(func(k cluster.KeptSnapshot) bool { return k.ID == kept && k.Taken == nil })
}

// digest tells two contents apart.
func digest(list []int) string {
	h := fnv.New64a()
	fmt.Fprint(h, list)
	return fmt.Sprintf("%x", h.Sum64())
}
