// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/flocker-project/flocker/cluster"
)

// storage is this node's back end for a dataset: the one in which it was born, else the one that it asks for.
func (v view) storage(id cluster.DatasetID) cluster.Storage {
	return v.seen.Back(v.backend(id))
}

func (v view) backend(id cluster.DatasetID) string {
	if d, known := v.desired.Datasets[id]; known {
		return d.Backend
	}
	return v.seen.Copies[id].Backend
}

// attaches says whether a dataset is in network storage: one volume, attached where it is used.
func (v view) attaches(id cluster.DatasetID) bool { return v.storage(id).Capabilities.Attaches }

// take brings the owner's volume of network storage to where it can be used. Only a dataset that was never born is made
// and formatted; what is missing of a born one is somebody's data.
func (v view) take(d cluster.Dataset, c cluster.Copy) Step {
	wait := func(format string, args ...any) Step {
		return Wait{About: DatasetObject(d.ID), Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case !d.Born && !c.Head:
		return v.bear(d, c)
	case d.Half(c):
		return v.copyFiles(d)
	case c.Volume == "":
		return wait("its volume is not in the store; it is not made anew")
	case c.Device == "" && (v.fencedMachine(d.Backend, c.Holder) || v.evictable(d, c.Holder)):
		return Evict{Dataset: d.ID, Epoch: d.Epoch, Machine: c.Holder}
	case c.Device == "":
		return Attach{Dataset: d.ID, Epoch: d.Epoch}
	case !c.Head:
		return wait("its volume %s carries no filesystem; it is not formatted anew", c.Volume)
	case stale(d, c) != "":
		return wait("%s", stale(d, c))
	case d.Rollback != nil && carries(c, d.Epoch):
		return v.rollBack(d, c)
	case c.Mounted == "" || c.Epoch != d.Epoch:
		return Mount{Dataset: d.ID, Epoch: d.Epoch}
	case v.storage(d.ID).Capabilities.Resizes && c.Size < d.Size:
		return Resize{Dataset: d.ID, Size: d.Size}
	}
	if s := v.snapshotAsked(d, c); s != nil {
		return s
	}
	return v.prune(d, c)
}

// carries says whether a head has an epoch. That of a volume which is mounted nowhere may not have been read yet, and is not, because mounting it
// would change what is on it; nobody else has it.
func carries(c cluster.Copy, epoch cluster.Epoch) bool {
	return c.Epoch == epoch || c.Volume != "" && c.Mounted == "" && c.Epoch == 0
}

// putDown gives back a volume of network storage that another node owns. What the volume holds is the same for its owner,
// so there is nothing to keep here. The store may have it attached here while the kernel has no device, after a boot.
func (v view) putDown(d cluster.Dataset, c cluster.Copy) Step {
	switch {
	case c.Device == "" && (c.Holder == "" || c.Holder != v.storage(d.ID).Machine):
		return nil
	case c.Epoch > d.Epoch:
		return Wait{About: DatasetObject(d.ID), Reason: "its data is newer than the desired state that was read"}
	case c.Mounted != "":
		return v.unmount(c)
	}
	return Detach{Dataset: d.ID}
}

// fencedMachine says whether a machine, by the store's name, is a node that has been declared off in its present boot.
func (v view) fencedMachine(end, machine string) bool {
	if machine == "" {
		return false
	}
	n, known := v.desired.Nodes[v.nodeOf(end, machine)]
	return known && n.Fence != nil && n.Fence.BootID == n.BootID
}

// evictable says whether a machine, by the store's name, is the node that a fail-over took the dataset from, which nobody hears
// and which the store itself can keep out.
func (v view) evictable(d cluster.Dataset, machine string) bool {
	if machine == "" || !v.storage(d.ID).Capabilities.Fences || d.Eviction.Epoch != d.Epoch {
		return false
	}
	n, known := v.desired.Nodes[v.nodeOf(d.Backend, machine)]
	return known && n.ID == d.Eviction.Node && !n.Alive()
}

// nodeOf is the other node that has a name in the store of a back end; none is empty.
func (v view) nodeOf(end, machine string) cluster.NodeID {
	for _, id := range sorted(v.desired.Elsewhere) {
		_, known := v.desired.Nodes[id]
		if known && id != v.me && v.desired.Elsewhere[id].Back(end).Machine == machine {
			return id
		}
	}
	return ""
}

// twin is another node with this node's name in the dataset's store: what one has attached, the store would let the other have too.
func (v view) twin(id cluster.DatasetID) cluster.NodeID {
	if !v.attaches(id) || v.storage(id).Machine == "" {
		return ""
	}
	return v.nodeOf(v.backend(id), v.storage(id).Machine)
}

// mayAttach permits reaching for a volume to whom it belongs. That two nodes never have it the store sees to.
func (v view) mayAttach(id cluster.DatasetID, epoch cluster.Epoch) bool {
	d, ok := v.desired.Datasets[id]
	return ok && v.attaches(id) && v.twin(id) == "" && d.Owner == v.me && !d.Deleted && d.Epoch == epoch && v.free(d.Move, false)
}

// mayDetach permits giving a volume back: as unmounting, once it is not mounted.
func (v view) mayDetach(id cluster.DatasetID) bool {
	return v.seen.Copies[id].Mounted == "" && v.twin(id) == "" && v.mayUnmount(id)
}
