// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/flocker-project/flocker/cluster"
)

// cloneVolume makes a dataset of the snapshot that it is to begin with, once that is taken and here.
func (v view) cloneVolume(d cluster.Dataset) Step {
	wait := func(format string, args ...any) Step {
		return Wait{About: DatasetObject(d.ID), Reason: "to be cloned: " + fmt.Sprintf(format, args...)}
	}
	k, there := v.desired.Datasets[d.Origin.Dataset].Kept(d.Origin.Snapshot)
	switch {
	case !there:
		return wait("the snapshot that it is to be made from is gone")
	case k.Taken == nil:
		return wait("snapshot %s is not taken yet", k.Name)
	case v.attaches(d.ID) && !v.storage(d.ID).Capabilities.Snapshots:
		return wait("the storage %s", without(v.storage(d.ID), "makes no clones"))
	case !v.attaches(d.ID) && !v.seen.Copies[d.Origin.Dataset].Held(*k.Taken):
		return wait("snapshot %s is not on %s", k.Name, v.name(v.me))
	}
	return CloneVolume{Dataset: d.ID, From: d.Origin.Dataset, Snapshot: k.Taken.Name, Size: d.Size, Profile: d.Profile, Epoch: d.Epoch}
}

// mayClone permits a dataset's first copy, of the very snapshot that its record names.
func (v view) mayClone(s CloneVolume) bool {
	d, ok := v.desired.Datasets[s.Dataset]
	c := v.seen.Copies[s.Dataset]
	if !ok || d.Owner != v.me || d.Deleted || d.Born || d.Origin == nil || d.Origin.Dataset != s.From || v.twin(s.Dataset) != "" {
		return false
	}
	k, there := v.desired.Datasets[s.From].Kept(d.Origin.Snapshot)
	named := there && k.Taken != nil && k.Taken.Name == s.Snapshot
	named = named && (v.attaches(s.Dataset) || v.seen.Copies[s.From].Held(*k.Taken)) // any node reaches a store's
	return named && !c.Head && len(c.Snapshots) == 0 && s.Epoch == d.Epoch && v.free(d.Move, false)
}
