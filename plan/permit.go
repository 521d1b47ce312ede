// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// Permit says whether a step may be taken on the observed node as the desired state
// has it. It is the floor under both Next, which emits only what it permits, and
// the straight functions of a move, which ask before each of their steps; a function passes
// what it knows of its move by Advance. Claims are not looked at: who asks holds the claim.
func Permit(desired cluster.Desired, observed cluster.Observed, step Step) bool {
	v := look(desired, observed)
	if _, wait := step.(Wait); wait {
		return true
	}
	if v.blind() != "" {
		return false
	}
	switch s := step.(type) {
	case CloseGate:
		return v.mayHush(s.Application)
	case StopContainer:
		return v.mayHush(s.Application)
	case CreateVolume, CloneVolume, CopyFiles, MakeHead, Attach, Detach, Evict, Mount, Unmount, DropHead, DestroyCopy, Resize, PruneSnapshot, TakeSnapshot,
		TakeTogether, Revert, CreateContainer, StartContainer, RemoveContainer, OpenGate, RunMove, AbortMove, ResumeMove, TakeBackMove, CleanMove, Wait:
	}
	return !v.fenced() && !v.inTheDark(step) && v.mayDo(step)
}

// mayDo is about what a fenced node never does.
func (v view) mayDo(step Step) bool {
	switch s := step.(type) {
	case CreateVolume:
		return v.mayCreate(s)
	case CloneVolume:
		return v.mayClone(s)
	case CopyFiles:
		return v.mayCopy(s)
	case MakeHead:
		return v.mayMakeHead(s)
	case Attach:
		return v.mayAttach(s.Dataset, s.Epoch)
	case Detach:
		return v.mayDetach(s.Dataset)
	case Evict:
		return v.mayAttach(s.Dataset, s.Epoch) && (v.fencedMachine(v.backend(s.Dataset), s.Machine) || v.evictable(v.desired.Datasets[s.Dataset], s.Machine))
	case Mount:
		return s.Epoch == v.desired.Datasets[s.Dataset].Epoch && v.mayWrite(s.Dataset)
	case Unmount:
		return v.mayUnmount(s.Dataset)
	case DropHead:
		return v.mayDropHead(s.Dataset)
	case DestroyCopy:
		d := v.desired.Datasets[s.Dataset]
		return d.Deleted && (!v.attaches(s.Dataset) || d.Owner == v.me && v.twin(s.Dataset) == "")
	case Resize:
		return true
	case PruneSnapshot:
		return v.mayPrune(s)
	case TakeSnapshot:
		return v.mayTake(s)
	case Revert:
		return v.mayRevert(s)
	case TakeTogether:
		return !slices.ContainsFunc(s.Snapshots, func(one TakeSnapshot) bool { return !v.mayTake(one) })
	case CreateContainer:
		return v.mayCreateContainer(s.Application)
	case StartContainer:
		return v.mayStart(s.Application)
	case RemoveContainer:
		return v.mayRemove(s.Application)
	case OpenGate:
		return v.mayOpen(s.Application)
	case RunMove, AbortMove, ResumeMove, TakeBackMove, CleanMove:
		return v.mayMove(step)
	case Wait, CloseGate, StopContainer:
	}
	return false
}

// role is the node's part in a move.
type role int

const (
	bystander role = iota
	source
	target
)

// part returns the move with this id, this node's role in it, and whether the move is understood.
func (v view) part(id cluster.MoveID) (cluster.Move, role, bool) {
	m, ok := v.desired.Moves[id]
	if !ok || malformed(id, m) != "" {
		return m, bystander, false
	}
	switch v.me {
	case m.Source:
		return m, source, true
	case m.Target:
		return m, target, true
	}
	return m, bystander, true
}

// free says whether an object's move, if it has one, lets this node write, start and be heard: before the cut-over
// on the source, from the hand-over (or, with heard, from the commit) on the target.
func (v view) free(id cluster.MoveID, heard bool) bool {
	if id == "" {
		return true
	}
	m, r, ok := v.part(id)
	switch {
	case !ok:
		return false
	case r == source:
		return m.Phase.BeforeHandOver() && m.Phase != cluster.MoveCutting && !v.maybeSent(m)
	case r == target && heard:
		return m.Phase == cluster.MoveCommitted
	case r == target:
		return m.Phase == cluster.MoveHandedOver || m.Phase == cluster.MoveCommitted
	}
	return false
}

// mayWrite is predicate I8 for one dataset.
func (v view) mayWrite(id cluster.DatasetID) bool {
	d, ok := v.desired.Datasets[id]
	c := v.seen.Copies[id]
	return ok && d.Owner == v.me && !d.Deleted && c.Head && !d.Half(c) && stale(d, c) == "" && v.free(d.Move, false)
}

func (v view) mayCreate(s CreateVolume) bool {
	d, ok := v.desired.Datasets[s.Dataset]
	c := v.seen.Copies[s.Dataset]
	none := !c.Head && len(c.Snapshots) == 0 && v.twin(s.Dataset) == "" && d.Origin == nil
	return ok && d.Owner == v.me && !d.Deleted && !d.Born && none && s.Backend == d.Backend && s.Epoch == d.Epoch && v.free(d.Move, false)
}

// mayMakeHead permits the scratch head of a target in the hand-over, and what a fail-over adopts.
func (v view) mayMakeHead(s MakeHead) bool {
	d, ok := v.desired.Datasets[s.Dataset]
	c := v.seen.Copies[s.Dataset]
	has := slices.ContainsFunc(c.Snapshots, func(o cluster.Snapshot) bool { return o.Name == s.Snapshot && o.Epoch < d.Epoch })
	if !ok || d.Owner != v.me || s.Epoch != d.Epoch || !has || d.Deleted {
		return false
	}
	if s.Scratch == "" {
		return d.Move == "" && !c.Head && d.Adopt == s.Snapshot
	}
	m, r, known := v.part(s.Scratch)
	return known && r == target && d.Move == m.ID && m.Phase == cluster.MoveHandedOver
}

func (v view) mayUnmount(id cluster.DatasetID) bool {
	d, ok := v.desired.Datasets[id]
	if !ok {
		return false
	}
	m, r, known := v.part(d.Move)
	switch {
	case d.Owner != v.me || d.Deleted:
		return true
	case d.Move == "":
		return d.Rollback != nil
	case !known:
		return false
	case r == source:
		return m.Phase == cluster.MoveCutting
	}
	return r == target && m.Phase == cluster.MoveHandedOver
}

// mayDropHead permits dropping a head that its owner elsewhere has superseded, and on
// the target of a hand-over the scratch head of an earlier try.
func (v view) mayDropHead(id cluster.DatasetID) bool {
	d, ok := v.desired.Datasets[id]
	c := v.seen.Copies[id]
	if !ok || c.Mounted != "" {
		return false
	}
	m, r, known := v.part(d.Move)
	if d.Owner == v.me {
		return known && r == target && m.Phase == cluster.MoveHandedOver && (c.Scratch != "" || v.keep(c) == "")
	}
	untouched := known && r == source && m.Phase == cluster.MoveHandedOver
	return !untouched && v.keep(c) == "" && c.Epoch <= d.Epoch
}

func (v view) mayCreateContainer(name string) bool {
	a, ok := v.desired.Applications[name]
	if !ok || a.Deleted {
		return false
	}
	if a.Node == v.me {
		return v.free(a.Move, false)
	}
	m, r, known := v.part(a.Move)
	return known && r == target && m.Phase.BeforeHandOver()
}

func (v view) mayStart(name string) bool {
	a, ok := v.desired.Applications[name]
	if !ok || a.Deleted || a.Node != v.me || !v.free(a.Move, false) {
		return false
	}
	return !slices.ContainsFunc(a.DatasetIDs(), func(id cluster.DatasetID) bool {
		return !v.mayWrite(id) || v.seen.Copies[id].Mounted == "" || v.desired.Datasets[id].Rollback != nil
	})
}

// mayHush permits taking a container out of service. On the source nothing is stopped before cutting is stored.
func (v view) mayHush(name string) bool {
	a, ok := v.desired.Applications[name]
	if !ok {
		return v.fenced()
	}
	m, r, known := v.part(a.Move)
	switch {
	case v.fenced() || a.Deleted || a.Node != v.me || v.rollingBack(a) != "":
		return true
	case known && r == source:
		return m.Phase == cluster.MoveCutting || v.superseded(a)
	case known && r == target:
		return m.Phase == cluster.MoveHandedOver || v.superseded(a)
	}
	return v.superseded(a)
}

// superseded says whether the container here is not the one that should run here.
func (v view) superseded(a cluster.Application) bool {
	return v.foreign(a) != "" || v.seen.Containers[a.Name].Spec != a.SpecHash()
}

func (v view) mayRemove(name string) bool {
	a, ok := v.desired.Applications[name]
	if !ok {
		return false
	}
	m, r, known := v.part(a.Move)
	untouched := known && r == source && m.Phase == cluster.MoveHandedOver
	return !untouched && (a.Deleted || a.Node != v.me || v.superseded(a))
}

// mayOpen is predicate I5.
func (v view) mayOpen(name string) bool {
	a, ok := v.desired.Applications[name]
	if !ok || a.Deleted || a.Node != v.me || !v.free(a.Move, true) && !v.sourceServes(a.Move) {
		return false
	}
	return !slices.ContainsFunc(a.DatasetIDs(), func(id cluster.DatasetID) bool {
		d, c := v.desired.Datasets[id], v.seen.Copies[id]
		open := v.free(d.Move, true) || v.sourceServes(d.Move)
		return !open || d.Owner != v.me || !c.Head || c.Epoch != d.Epoch || c.Mounted == ""
	})
}

func (v view) sourceServes(id cluster.MoveID) bool {
	_, r, ok := v.part(id)
	return ok && r == source && v.free(id, false)
}

func (v view) mayMove(step Step) bool {
	var id cluster.MoveID
	allowed := func(cluster.Move, role) bool { return false }
	switch s := step.(type) {
	case RunMove:
		id, allowed = s.Move, func(m cluster.Move, r role) bool {
			return r == source && m.Phase.BeforeHandOver() && m.Phase != cluster.MoveCutting && !v.maybeSent(m)
		}
	case AbortMove:
		id, allowed = s.Move, func(m cluster.Move, r role) bool {
			return r == source && m.Phase.BeforeHandOver() && s.Attempt == m.Attempt
		}
	case ResumeMove:
		id, allowed = s.Move, func(m cluster.Move, r role) bool { return r == target && m.Phase == cluster.MoveHandedOver }
	case TakeBackMove:
		id, allowed = s.Move, func(m cluster.Move, r role) bool { return r != bystander && m.Phase == cluster.MoveHandedOver }
	case CleanMove:
		id, allowed = s.Move, func(m cluster.Move, r role) bool { return r != bystander && m.Phase == cluster.MoveCommitted }
	case CreateVolume, CloneVolume, CopyFiles, MakeHead, Attach, Detach, Evict, Mount, Unmount, DropHead, DestroyCopy, Resize, PruneSnapshot, TakeSnapshot,
		TakeTogether, Revert, CreateContainer, StartContainer, StopContainer, RemoveContainer, OpenGate, CloseGate, Wait:
	}
	m, r, known := v.part(id)
	return known && allowed(m, r)
}
