// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// snapshotAsked takes the next snapshot that was asked for; nil where there is none to take here and now. One that was asked for
// just before a move is taken after it, by whoever owns the dataset then: a move numbers snapshots of its own.
func (v view) snapshotAsked(d cluster.Dataset, c cluster.Copy) Step {
	if d.Move != "" {
		return nil
	}
	for _, k := range d.Snapshots {
		switch {
		case !untaken(k) || v.takesTogether(k, d.ID):
		case !v.storage(d.ID).Capabilities.Snapshots:
			return Wait{About: DatasetObject(d.ID), Reason: fmt.Sprintf("snapshot %s: the storage %s", k.Name, without(v.storage(d.ID), "takes none"))}
		default:
			s := v.takeSnapshot(d, c, k)
			if k.Quiesce {
				s.Quiesce = v.running(d.ID)
			}
			return s
		}
	}
	return nil
}

// without says what storage that keeps no snapshots does not do, and why.
func without(s cluster.Storage, what string) string {
	if why := s.Capabilities.NoSnapshots; why != "" {
		return fmt.Sprintf("%s %s: %s", s.Backend, what, why)
	}
	return s.Backend + " " + what
}

func untaken(k cluster.KeptSnapshot) bool { return k.Taken == nil && !k.Removed }

// takesTogether says whether an application that is here takes the snapshot with those of its other datasets.
func (v view) takesTogether(k cluster.KeptSnapshot, id cluster.DatasetID) bool {
	a, ok := v.desired.Applications[k.Application]
	return k.Application != "" && ok && !a.Deleted && a.Node == v.me && slices.Contains(a.DatasetIDs(), id)
}

func (v view) takeSnapshot(d cluster.Dataset, c cluster.Copy, k cluster.KeptSnapshot) TakeSnapshot {
	return TakeSnapshot{Dataset: d.ID, ID: k.ID, Epoch: d.Epoch, Serial: v.lastSerial(d, c) + 1}
}

// lastSerial is the largest that a snapshot of the dataset's present epoch has anywhere.
func (v view) lastSerial(d cluster.Dataset, c cluster.Copy) uint64 {
	last := uint64(0)
	count := func(s cluster.Snapshot) {
		if s.Epoch == d.Epoch {
			last = max(last, s.Serial)
		}
	}
	for _, s := range c.Snapshots {
		count(s)
	}
	for _, other := range v.desired.Elsewhere {
		for _, s := range other.Copies[d.ID].Snapshots {
			count(s)
		}
	}
	for _, k := range d.Snapshots {
		if k.Taken != nil {
			count(*k.Taken)
		}
	}
	return last
}

// running are the applications that run here on a dataset.
func (v view) running(id cluster.DatasetID) []string {
	var names []string
	for _, name := range sorted(v.seen.Containers) {
		if k := v.seen.Containers[name]; k.State == cluster.ContainerRunning && uses(k, id) {
			names = append(names, name)
		}
	}
	return names
}

// together takes the snapshots that were asked for of all the application's datasets at once; nil where there are none to take
// now. It is the same step while the application is paused, so that one whose agent died in between goes on.
func (v view) together(a cluster.Application) Step {
	group := v.groupAsked(a)
	if group == "" || a.Move != "" {
		return nil
	}
	t := TakeTogether{Application: a.Name, Group: group}
	for _, id := range a.DatasetIDs() {
		d, c := v.desired.Datasets[id], v.seen.Copies[id]
		i := slices.IndexFunc(d.Snapshots, func(k cluster.KeptSnapshot) bool { return k.Group == group && untaken(k) })
		switch {
		case i < 0:
			continue
		case d.Move != "" || !v.storage(id).Capabilities.Snapshots || v.unusable(id) != "" || !v.mayTake(v.takeSnapshot(d, c, d.Snapshots[i])):
			return nil
		}
		t.Quiesce = t.Quiesce || d.Snapshots[i].Quiesce && v.seen.Containers[a.Name].State == cluster.ContainerRunning
		t.Snapshots = append(t.Snapshots, v.takeSnapshot(d, c, d.Snapshots[i]))
	}
	return t
}

// groupAsked is the first group of snapshots that was asked for of the application and is not taken.
func (v view) groupAsked(a cluster.Application) string {
	for _, id := range a.DatasetIDs() {
		for _, k := range v.desired.Datasets[id].Snapshots {
			if k.Application == a.Name && k.Group != "" && untaken(k) {
				return k.Group
			}
		}
	}
	return ""
}

// mayTake permits a snapshot of the owner's own head that somebody asked for, with a lineage that none has.
func (v view) mayTake(s TakeSnapshot) bool {
	d, ok := v.desired.Datasets[s.Dataset]
	c := v.seen.Copies[s.Dataset]
	k, asked := d.Kept(s.ID)
	mine := ok && d.Owner == v.me && !d.Deleted && d.Move == "" && d.Epoch == s.Epoch
	head := c.Head && carries(c, d.Epoch) && c.Scratch == "" && !d.Half(c) && stale(d, c) == ""
	return mine && head && asked && untaken(k) && s.Serial > v.lastSerial(d, c)
}
