// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/flocker-project/flocker/cluster"
)

// copyFiles makes a dataset of the files of a clone in another back end, once that is mounted here and nobody else uses it. Whatever is there
// of the dataset is nobody's yet, and is copied over.
func (v view) copyFiles(d cluster.Dataset) Step {
	wait := func(format string, args ...any) Step {
		return Wait{About: DatasetObject(d.ID), Reason: "to be copied: " + fmt.Sprintf(format, args...)}
	}
	c, from := v.seen.Copies[d.ID], v.desired.Datasets[d.Origin.Via]
	switch {
	case len(c.Snapshots) > 0:
		return wait("snapshots of it are here before it is whole; it is not made anew")
	case from.ID == "" || from.Deleted:
		return wait("what it is to be made from is gone")
	case from.Owner != v.me:
		return wait("what it is to be made from is on %s", v.name(from.Owner))
	case !v.stands(from):
		return wait("its source %s is not mounted yet%s", from.Name, v.notTaken(d))
	case v.user(from.ID) != "":
		return wait("%s uses its source %s", v.user(from.ID), from.Name)
	case v.user(d.ID) != "":
		return wait("%s uses it before it is whole", v.user(d.ID))
	}
	return CopyFiles{Dataset: d.ID, From: from.ID, Backend: d.Backend, Size: d.Size, Profile: d.Profile, Epoch: d.Epoch}
}

// notTaken names the snapshot that everything waits for.
func (v view) notTaken(d cluster.Dataset) string {
	k, there := v.desired.Datasets[d.Origin.Dataset].Kept(d.Origin.Snapshot)
	if there && k.Taken == nil {
		return fmt.Sprintf(": snapshot %s is not taken yet", k.Name)
	}
	return ""
}

// stands says whether the owner's head of a dataset is here, mounted and as its record says.
func (v view) stands(d cluster.Dataset) bool {
	c := v.seen.Copies[d.ID]
	return c.Head && c.Mounted != "" && c.Scratch == "" && c.Epoch == d.Epoch && d.Move == "" && v.strange(d.ID, d, true) == ""
}

// mayCopy permits writing a dataset's first copy as long as it is not whole, from the very source that its record names.
func (v view) mayCopy(s CopyFiles) bool {
	d, ok := v.desired.Datasets[s.Dataset]
	c := v.seen.Copies[s.Dataset]
	from, known := v.desired.Datasets[s.From]
	if !ok || d.Owner != v.me || d.Deleted || !d.ByFiles() || d.Origin.Via != s.From || v.twin(s.Dataset) != "" {
		return false
	}
	half := !d.Born && (!c.Head || d.Half(c)) && len(c.Snapshots) == 0 && s.Epoch == d.Epoch && s.Epoch > cluster.HalfEpoch
	source := known && from.Owner == v.me && !from.Deleted && v.stands(from)
	return half && source && s.Backend == d.Backend && v.free(d.Move, false)
}
