// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// Check looks at the ground truth: who can write, who is heard, and whether what clients were answered is where it has to be.
func (w *World) Check() {
	for id := range w.store.now.Datasets {
		w.checkWriters(id)
		w.checkAcked(id)
		w.checkKept(id)
	}
}

// checkWriters is I1 and I5.
func (w *World) checkWriters(id cluster.DatasetID) {
	d := w.store.now.Datasets[id]
	var writers, heard []cluster.NodeID
	for _, n := range w.ids() {
		if w.nodes[n].writes(id) {
			writers = append(writers, n)
		}
		if w.nodes[n].heard(id) && !w.shutOut(w.nodes[n], id) {
			heard = append(heard, n)
		}
	}
	if len(heard) > 1 {
		w.broken("I1: %s is written and served by %v", id, heard)
	}
	if w.net != nil && len(writers) > 1 {
		w.broken("I1: the one copy of %s is written by %v", id, writers)
	}
	for _, n := range heard {
		m := w.store.now.Moves[d.Move]
		switch {
		case d.Owner != n && (d.Eviction.Node != n || d.Eviction.Epoch != d.Epoch):
			w.broken("I5: %s serves %s, which %s owns", n, id, d.Owner)
		case m.Phase == cluster.MoveHandedOver:
			w.broken("I5: %s serves %s, which is tentative", n, id)
		case w.nodes[n].disks[id].epoch != d.Epoch && d.Owner == n:
			w.broken("I5: %s serves %s of epoch %d, the store has %d", n, id, w.nodes[n].disks[id].epoch, d.Epoch)
		}
	}
	for _, n := range writers {
		// On network storage one who was just taken off may still have the volume, unheard: nobody else has it then.
		if c := w.nodes[n].disks[id]; w.net == nil && d.Owner != n && c.scratch == "" {
			w.broken("I1: %s writes to %s, which %s owns", n, id, d.Owner)
		}
	}
}

// shutOut says whether the storage took the volume from a node whose processes go on: nothing that they answer is a write.
func (w *World) shutOut(n *node, id cluster.DatasetID) bool {
	return w.net != nil && w.net.shutOut[n.id] && !n.writes(id)
}

// checkAcked is I12: what was answered is in the owner's copy, or, while the dataset
// is tentative, both in the source's untouched copy and in what the target goes on from.
func (w *World) checkAcked(id cluster.DatasetID) {
	d := w.store.now.Datasets[id]
	m := w.store.now.Moves[d.Move]
	if w.net != nil {
		w.checkData(id, w.truth(id).data, "in the store")
		return
	}
	if m.Phase == cluster.MoveHandedOver {
		w.checkCopy(id, m.Source)
		w.checkCopy(id, m.Target)
		return
	}
	w.checkCopy(id, d.Owner)
}

func (w *World) checkCopy(id cluster.DatasetID, at cluster.NodeID) {
	c := w.nodes[at].disks[id]
	has := c.data
	if len(c.snaps) > 0 && (!c.head || c.epoch < c.snaps[len(c.snaps)-1].Epoch) {
		has = c.snaps[len(c.snaps)-1].data
	}
	w.checkData(id, has, "on "+string(at))
}

func (w *World) checkData(id cluster.DatasetID, has []int, where string) {
	for _, n := range w.acked[id] {
		if count(has, n) != 1 {
			w.broken("I12: write %d to %s, which a client was answered, is %d times %s", n, id, count(has, n), where)
			return
		}
	}
}

func count(list []int, n int) int {
	k := 0
	for _, x := range list {
		if x == n {
			k++
		}
	}
	return k
}

// checkTransition is I2, I3, I6 and I7 over one transaction.
func (w *World) checkTransition(before cluster.Desired) {
	now := w.store.now
	for id, d := range now.Datasets {
		old := before.Datasets[id]
		if (old.Owner != d.Owner) != (old.Epoch != d.Epoch) || d.Epoch > old.Epoch+1 {
			w.broken("I2: %s went from %s at %d to %s at %d", id, old.Owner, old.Epoch, d.Owner, d.Epoch)
		}
		key := fmt.Sprintf("%s@%d", id, d.Epoch)
		if was, ok := w.owners[key]; ok && was != d.Owner {
			w.broken("I2: %s had two owners, %s and %s", key, was, d.Owner)
		}
		w.owners[key] = d.Owner
		if old.Owner != d.Owner {
			w.checkRelease(id, old, d, before)
		}
	}
	for id, m := range now.Moves {
		old := before.Moves[id]
		if old.Phase != "" && old.Phase != m.Phase && !old.Phase.Follows(m.Phase) {
			w.broken("I6: move %s went from %s to %s", id, old.Phase, m.Phase)
		}
		for _, x := range m.Datasets {
			if (now.Datasets[x].Move == id) == m.Phase.Terminal() {
				w.broken("I7: %s names move %q, which is %s", x, now.Datasets[x].Move, m.Phase)
			}
		}
	}
}

// checkRelease is I3 on the ground truth: an owner gave up its right only when nothing there could write and all there was had arrived.
func (w *World) checkRelease(id cluster.DatasetID, old, d cluster.Dataset, before cluster.Desired) {
	m := before.Moves[old.Move]
	if m.Phase == cluster.MoveHandedOver {
		return // a take-back of a tentative epoch
	}
	from, to := w.nodes[old.Owner], w.nodes[d.Owner]
	if w.net != nil {
		if d.Eviction == (cluster.Eviction{Node: from.id, Epoch: d.Epoch}) && before.Nodes[from.id].Session == "" {
			return // who takes it over takes the volume first
		}
		if now := w.store.now.Nodes[from.id]; w.net.volumes[id].holder == from.id && (now.Fence == nil || now.Fence.BootID != from.bootID() && from.up) {
			w.broken("I3: %s was handed over while %s had it attached", id, from.id)
		}
		return
	}
	c, arrived := from.disks[id], to.disks[id].snaps
	switch {
	case from.writes(id) || from.mounted[id]:
		w.broken("I3: %s was handed over while %s could write to it", id, from.id)
	case !slices.ContainsFunc(arrived, func(s snap) bool { return slices.Equal(s.data, c.data) }):
		w.broken("I3: %s was handed over before all of it had arrived on %s", id, to.id)
	}
}

// checkStep is I4, I8 and I10 for a step about to be carried out, on the store's truth.
func (w *World) checkStep(n *node, s plan.Step) {
	switch s := s.(type) {
	case plan.CreateVolume:
		if w.store.now.Datasets[s.Dataset].Born {
			w.broken("I8: %s makes %s anew, which is born", n.id, s.Dataset)
		}
	case plan.Mount:
		w.checkRight(n, s.Dataset, "mounts")
	case plan.StartContainer:
		for _, id := range n.boxes[s.Application].datasets {
			w.checkRight(n, id, "starts on")
		}
	case plan.DropHead:
		w.checkDrop(n, s.Dataset)
	case plan.StopContainer:
		m := w.store.now.Moves[w.store.now.Applications[s.Application].Move]
		if m.Source == n.id && m.Phase.BeforeHandOver() && m.Phase != cluster.MoveCutting {
			w.broken("rule 2: %s stops %s while its move is %s", n.id, s.Application, m.Phase)
		}
	case plan.DestroyCopy:
		if !w.store.now.Datasets[s.Dataset].Deleted {
			w.broken("I10: %s destroys %s, which nobody asked for", n.id, s.Dataset)
		}
	case plan.PruneSnapshot:
		c := n.disks[s.Dataset]
		if d := w.store.now.Datasets[s.Dataset]; slices.ContainsFunc(c.snaps, func(o snap) bool { return o.Name == s.Snapshot && d.Keeps(o.Snapshot) }) {
			w.broken("I16: %s prunes %s of %s, which is kept", n.id, s.Snapshot, s.Dataset)
		}
		if len(c.snaps) < 2 && !c.head {
			w.broken("I10: %s prunes the last snapshot of %s", n.id, s.Dataset)
		}
	case plan.Evict:
		from, asked := w.nodes[cluster.NodeID(s.Machine)], w.evictable[cluster.Eviction{Node: cluster.NodeID(s.Machine), Epoch: s.Epoch}]
		if !asked && (from.writes(s.Dataset) || from.mounted[s.Dataset]) {
			w.broken("I3: %s takes %s from %s, which can write to it", n.id, s.Dataset, s.Machine)
		}
	case plan.MakeHead, plan.Attach, plan.Detach, plan.Unmount, plan.Resize, plan.TakeSnapshot, plan.TakeTogether, plan.Revert, plan.CloneVolume, plan.CopyFiles, plan.CreateContainer, plan.RemoveContainer, plan.OpenGate, plan.CloseGate,
		plan.RunMove, plan.AbortMove, plan.ResumeMove, plan.TakeBackMove, plan.CleanMove, plan.Wait:
	}
}

// checkRight is I8: what was read was read in this session and boot, and gives the right to write.
func (w *World) checkRight(n *node, id cluster.DatasetID, verb string) {
	a := n.agent
	if a == nil || a.desired.Session == "" || !a.desired.Complete || a.desired.Nodes[n.id].BootID != n.bootID() {
		w.broken("I8: %s %s %s before it has read what should be", n.id, verb, id)
		return
	}
	d := w.store.now.Datasets[id]
	if w.net != nil { // what was read decides, and who has the volume
		has := w.net.volumes[id].holder == n.id || w.net.shared || w.net.shutOut[n.id] // who was shut out writes nothing, whatever it does
		late := d.Eviction.Node == n.id                                                // it was begun before the node knew, which somebody still has to shut out
		if !n.believesToOwn(id) && !late || !has {
			w.broken("I8: %s %s %s without a right to it", n.id, verb, id)
		}
		return
	}
	if c := n.disks[id]; d.Owner != n.id && c.scratch == "" {
		w.broken("I8: %s %s %s, which %s owns", n.id, verb, id, d.Owner)
	}
}

// checkDrop is I10: the head of what is not scratch goes only when a snapshot beside it holds the same.
func (w *World) checkDrop(n *node, id cluster.DatasetID) {
	c := n.disks[id]
	if c.scratch != "" {
		if m := w.store.now.Moves[c.scratch]; m.Phase == cluster.MoveCommitted && m.Target == n.id {
			w.broken("I10: %s drops the head of %s, which is committed", n.id, id)
		}
		return
	}
	if c.head && !slices.ContainsFunc(c.snaps, func(s snap) bool { return slices.Equal(s.data, c.data) }) {
		w.broken("I10: %s drops the head of %s with writes that are in no snapshot", n.id, id)
	}
	if m := w.store.now.Moves[w.store.now.Datasets[id].Move]; m.Phase == cluster.MoveHandedOver && m.Source == n.id {
		w.broken("I10: %s drops the untouched copy of %s, which is tentative", n.id, id)
	}
}
