// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// node is the ground truth of one machine: what is on its disks and what runs, whatever anyone has read or reported of it.
type node struct {
	id      cluster.NodeID
	up      bool
	boot    int
	disks   map[cluster.DatasetID]disk
	mounted map[cluster.DatasetID]bool
	boxes   map[string]box
	notes   map[cluster.MoveID]int     // fsynced
	lingers map[cluster.DatasetID]bool // a process in another mount namespace has the data open
	dark    bool                       // its back end cannot be looked at; what was begun there goes on
	last    cluster.Desired            // what the agent last read, for an agent that wrongly keeps it
	agent   *agent                     // nil while its process is dead
}

// disk is one dataset's copy. data is every write there is in the head, in order.
type disk struct {
	head    bool
	data    []int
	epoch   cluster.Epoch
	scratch cluster.MoveID
	snaps   []snap
}

type snap struct {
	cluster.Snapshot
	data []int
}

type box struct {
	state    cluster.ContainerState
	gate     bool
	ended    bool
	spec     string
	datasets []cluster.DatasetID
}

// agent is one agent process: all of it is gone when the process dies.
type agent struct {
	session   string
	desired   cluster.Desired
	functions map[cluster.MoveID]*function
	pending   map[string]plan.Step // decided on, not yet carried out
	overdue   map[cluster.MoveID]bool
	taken     map[cluster.SnapshotID]cluster.Snapshot // of which the store may not know
}

func newNode(id cluster.NodeID) *node {
	return &node{
		id: id, up: true, boot: 1, disks: map[cluster.DatasetID]disk{}, mounted: map[cluster.DatasetID]bool{},
		boxes: map[string]box{}, notes: map[cluster.MoveID]int{}, lingers: map[cluster.DatasetID]bool{},
	}
}

func (n *node) bootID() string { return fmt.Sprintf("%s-boot%d", n.id, n.boot) }

// writes is W(n,d): a process here can change the dataset's bytes.
func (n *node) writes(id cluster.DatasetID) bool {
	if n.up && n.lingers[id] && n.disks[id].head {
		return true
	}
	for _, b := range n.boxes {
		if n.up && b.state == cluster.ContainerRunning && slices.Contains(b.datasets, id) && n.disks[id].head {
			return true
		}
	}
	return false
}

// heard is W ∧ Gate.
func (n *node) heard(id cluster.DatasetID) bool {
	for _, b := range n.boxes {
		if n.up && b.state == cluster.ContainerRunning && b.gate && slices.Contains(b.datasets, id) {
			return true
		}
	}
	return false
}

// observe is what the agent's discovery finds.
func (n *node) observe() cluster.Observed {
	o := cluster.Observed{
		Node: n.id, BootID: n.bootID(), Copies: map[cluster.DatasetID]cluster.Copy{}, Containers: map[string]cluster.Container{},
		Claims: map[cluster.MoveID]bool{}, Noted: maps.Clone(n.notes),
		Storage: cluster.Storage{Backend: "sim", Capabilities: cluster.Capabilities{Replicates: true, Snapshots: true}},
	}
	for id, d := range n.disks {
		c := cluster.Copy{Dataset: id, Head: d.head, Epoch: d.epoch, Scratch: d.scratch}
		if n.mounted[id] {
			c.Mounted = "/flocker/" + string(id)
		}
		for _, s := range d.snaps {
			c.Snapshots = append(c.Snapshots, s.Snapshot)
		}
		c.Divergent = d.head && (len(d.snaps) == 0 || !slices.Equal(d.data, d.snaps[len(d.snaps)-1].data))
		o.Copies[id] = c
	}
	for name, b := range n.boxes {
		o.Containers[name] = cluster.Container{
			Application: name, ID: name, State: b.state, Spec: b.spec, Datasets: b.datasets, Ended: b.ended, ExitCode: 1, GateOpen: b.gate,
		}
	}
	if n.agent != nil {
		o.Session, o.Overdue = n.agent.session, n.agent.overdue
		for id, f := range n.agent.functions {
			o.Claims[id] = f.claim
		}
	}
	return o
}

// reboot ends every process and mount.
func (n *node) reboot() {
	n.boot++
	n.agent = nil
	n.mounted = map[cluster.DatasetID]bool{}
	clear(n.lingers)
	for name, b := range n.boxes {
		if b.state == cluster.ContainerRunning {
			b.state = cluster.ContainerExited
		}
		b.gate, b.ended = false, false
		n.boxes[name] = b
	}
}

// do carries out a step on the machine; false is a failure that changed nothing.
func (n *node) do(s plan.Step, applications map[string]cluster.Application) bool {
	switch s := s.(type) {
	case plan.CreateVolume:
		return n.create(s.Dataset, s.Epoch)
	case plan.MakeHead:
		return n.clone(s.Dataset, s.Snapshot, s.Epoch, s.Scratch)
	case plan.Mount:
		return n.setEpoch(s.Dataset, s.Epoch, "") && n.mount(s.Dataset)
	case plan.Unmount:
		return n.unmount(s.Dataset)
	case plan.DropHead:
		return n.dropHead(s.Dataset)
	case plan.DestroyCopy:
		delete(n.disks, s.Dataset)
		return true
	case plan.PruneSnapshot:
		d := n.disks[s.Dataset]
		d.snaps = slices.DeleteFunc(slices.Clone(d.snaps), func(o snap) bool { return o.Name == s.Snapshot })
		n.disks[s.Dataset] = d
		return true
	case plan.CreateContainer:
		return n.createBox(applications[s.Application])
	case plan.StartContainer:
		return n.start(s.Application)
	case plan.StopContainer:
		return n.stop(s.Application)
	case plan.RemoveContainer:
		delete(n.boxes, s.Application)
		return true
	case plan.OpenGate:
		return n.gate(s.Application, true)
	case plan.CloseGate:
		return n.gate(s.Application, false)
	case plan.Resize, plan.Wait:
		return true
	case plan.TakeSnapshot, plan.TakeTogether, plan.Revert, plan.CloneVolume, plan.CopyFiles, plan.Attach, plan.Detach, plan.Evict, plan.RunMove, plan.AbortMove, plan.ResumeMove, plan.TakeBackMove, plan.CleanMove:
	}
	return false
}

func (n *node) create(id cluster.DatasetID, e cluster.Epoch) bool {
	if n.disks[id].head {
		return false
	}
	n.disks[id] = disk{head: true, epoch: e}
	return true
}

func (n *node) clone(id cluster.DatasetID, snapshot string, e cluster.Epoch, scratch cluster.MoveID) bool {
	d := n.disks[id]
	for _, s := range d.snaps {
		if s.Name == snapshot && !d.head {
			d.head, d.data, d.epoch, d.scratch = true, slices.Clone(s.data), e, scratch
			n.disks[id] = d
			return true
		}
	}
	return false
}

func (n *node) setEpoch(id cluster.DatasetID, e cluster.Epoch, scratch cluster.MoveID) bool {
	d := n.disks[id]
	if !d.head || e < d.epoch {
		return false
	}
	d.epoch, d.scratch = e, scratch
	n.disks[id] = d
	return true
}

func (n *node) mount(id cluster.DatasetID) bool {
	if !n.disks[id].head {
		return false
	}
	n.mounted[id] = true
	return true
}

// unmount succeeds on the host while a process in another mount namespace goes on, as the kernel's does.
func (n *node) unmount(id cluster.DatasetID) bool {
	for _, b := range n.boxes {
		if b.state == cluster.ContainerRunning && slices.Contains(b.datasets, id) {
			return false
		}
	}
	delete(n.mounted, id)
	return true
}

func (n *node) dropHead(id cluster.DatasetID) bool {
	d := n.disks[id]
	if n.mounted[id] || n.writes(id) {
		return false
	}
	n.disks[id] = disk{snaps: d.snaps}
	if len(d.snaps) == 0 {
		delete(n.disks, id)
	}
	return true
}

func (n *node) snapshot(id cluster.DatasetID) (snap, bool) {
	d := n.disks[id]
	if !d.head {
		return snap{}, false
	}
	serial := uint64(1)
	if len(d.snaps) > 0 {
		serial = d.snaps[len(d.snaps)-1].Serial + 1
	}
	name := fmt.Sprintf("e%04d-s%04d", d.epoch, serial)
	s := snap{Snapshot: cluster.Snapshot{Name: name, Epoch: d.epoch, Serial: serial, ID: fmt.Sprintf("%s@%s#%s", id, name, digest(d.data))}, data: slices.Clone(d.data)}
	d.snaps = append(slices.Clone(d.snaps), s)
	n.disks[id] = d
	return s, true
}

func (n *node) createBox(a cluster.Application) bool {
	if _, exists := n.boxes[a.Name]; !exists {
		n.boxes[a.Name] = box{state: cluster.ContainerCreated, spec: a.SpecHash(), datasets: a.DatasetIDs()}
	}
	return true
}

func (n *node) start(name string) bool {
	b, ok := n.boxes[name]
	for _, id := range b.datasets {
		ok = ok && n.mounted[id]
	}
	if ok {
		b.state, b.ended = cluster.ContainerRunning, false
		n.boxes[name] = b
	}
	return ok
}

func (n *node) stop(name string) bool {
	b, ok := n.boxes[name]
	if ok && b.state == cluster.ContainerRunning {
		b.state, b.ended = cluster.ContainerExited, false
		n.boxes[name] = b
	}
	return ok
}

func (n *node) gate(name string, open bool) bool {
	b, ok := n.boxes[name]
	if ok {
		b.gate = open
		n.boxes[name] = b
	}
	return ok
}

// message is a request on its way to the store or to a peer's agent. It may arrive after its sender
// has died, twice, or never.
type message struct {
	from, to cluster.NodeID // to is empty for the store
	agent    *agent         // the process that asked, for the answer
	move     cluster.MoveID
	what     string
	change   api.MoveTransition
	carried  cluster.Move      // as the sender knows it
	volume   cluster.DatasetID // to attach
	final    map[cluster.DatasetID]string
	kept     cluster.SnapshotID // with session, and snapshot or, for a rollback, none
	snapshot *cluster.Snapshot
	session  string
}
