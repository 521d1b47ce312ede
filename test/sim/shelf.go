// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// shelf is a store of network storage: each volume is on at most one machine, which the store sees to itself. While a
// machine has it, its disk is there; a process that has it open on a machine that was evicted writes nothing.
type shelf struct {
	volumes map[cluster.DatasetID]volume
	shutOut map[cluster.NodeID]bool // machines from which a volume was taken, until their boot or until they have one again
	shared  bool                    // planted: the store attaches to two machines at once
}

type volume struct {
	holder cluster.NodeID // empty: none
	disk   disk           // while no machine has it
}

// attach gives a volume to a machine, unless another has it.
func (w *World) attach(n *node, id cluster.DatasetID) bool {
	v, exists := w.net.volumes[id]
	switch {
	case !exists || !n.up || v.holder != "" && v.holder != n.id && !w.net.shared:
		return false
	case v.holder == n.id:
		return true
	case v.holder != "":
		v.disk = w.nodes[v.holder].disks[id]
	}
	n.disks[id] = v.disk
	delete(w.net.shutOut, n.id)
	v.holder = n.id
	w.net.volumes[id] = v
	return true
}

// detach gives it back when nothing on the machine has it open.
func (w *World) detach(n *node, id cluster.DatasetID) bool {
	v := w.net.volumes[id]
	if v.holder != n.id {
		return true
	}
	if n.mounted[id] || n.writes(id) {
		return false
	}
	w.net.volumes[id] = volume{disk: n.disks[id]}
	delete(n.disks, id)
	return true
}

// evict takes it from a machine, whatever that does.
func (w *World) evict(id cluster.DatasetID, machine cluster.NodeID) bool {
	v, n := w.net.volumes[id], w.nodes[machine]
	if v.holder == machine {
		w.net.volumes[id] = volume{disk: n.disks[id]}
		delete(n.disks, id)
		w.net.shutOut[machine] = true
	}
	return true
}

// bear makes the volume of a dataset that was never born, or goes on with it, on the machine that asks.
func (w *World) bear(n *node, id cluster.DatasetID, e cluster.Epoch) bool {
	if _, exists := w.net.volumes[id]; !exists {
		w.net.volumes[id] = volume{disk: disk{head: true, epoch: e}}
	}
	return w.attach(n, id)
}

// doAttached carries out the steps of network storage; handled is false for all others.
func (w *World) doAttached(n *node, s plan.Step) (done, handled bool) {
	switch s := s.(type) {
	case plan.CreateVolume:
		return w.bear(n, s.Dataset, s.Epoch), true
	case plan.Attach:
		return w.attach(n, s.Dataset), true
	case plan.Detach:
		return w.detach(n, s.Dataset), true
	case plan.Evict:
		return w.evict(s.Dataset, cluster.NodeID(s.Machine)), true
	case plan.DestroyCopy:
		delete(w.net.volumes, s.Dataset)
		delete(n.disks, s.Dataset)
		return true, true
	default:
		return false, false
	}
}

// seen is what a node observes of network storage.
func (w *World) seen(n *node, o *cluster.Observed) {
	o.Storage = cluster.Storage{Backend: "net", Machine: string(n.id), Capabilities: cluster.Capabilities{Attaches: true, Fences: true}}
	for id, v := range w.net.volumes {
		owner := n.agent != nil && n.agent.desired.Datasets[id].Owner == n.id
		c, here := o.Copies[id]
		switch {
		case here:
			c.Volume, c.Device, c.Divergent = "v-"+string(id), "device", false
		case owner:
			c = cluster.Copy{Dataset: id, Volume: "v-" + string(id), Holder: string(v.holder)}
		default:
			continue
		}
		o.Copies[id] = c
	}
}

// truth is where the one copy of a dataset on network storage is.
func (w *World) truth(id cluster.DatasetID) disk {
	v := w.net.volumes[id]
	if v.holder != "" {
		return w.nodes[v.holder].disks[id]
	}
	return v.disk
}

// putDown unmounts what the move takes along.
func (w *World) putDown(n *node, f *function) bool {
	for _, id := range f.latest.Datasets {
		if n.mounted[id] && !w.permitted(n, f, plan.Unmount{Dataset: id}) {
			return false
		}
	}
	return true
}

// giveAway detaches it.
func (w *World) giveAway(n *node, f *function) bool {
	if w.net == nil || w.bugs.KeepsVolume {
		return true
	}
	for _, id := range f.latest.Datasets {
		if w.net.volumes[id].holder == n.id && !w.permitted(n, f, plan.Detach{Dataset: id}) {
			return false
		}
	}
	return true
}

// pickUp attaches and mounts a volume on the target.
func (w *World) pickUp(n *node, f *function, id cluster.DatasetID) bool {
	epoch := f.knows(n).Datasets[id].Epoch
	return w.permitted(n, f, plan.Attach{Dataset: id, Epoch: epoch}) && w.permitted(n, f, plan.Mount{Dataset: id, Epoch: epoch})
}

// believesToOwn says whether what the node's processes have read or were told makes it the owner.
func (n *node) believesToOwn(id cluster.DatasetID) bool {
	owns := n.agent.desired.Datasets[id].Owner == n.id
	for _, f := range n.agent.functions {
		owns = owns || f.knows(n).Datasets[id].Owner == n.id
	}
	return owns
}
