// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/flocker-project/flocker/cluster"
)

// rollBack takes the owner's head back to a snapshot: out of use first, then what it is now is kept, then the two change places. Each
// step is planned from what is there, so that whoever comes back goes on.
func (v view) rollBack(d cluster.Dataset, c cluster.Copy) Step {
	wait := func(format string, args ...any) Step {
		return Wait{About: DatasetObject(d.ID), Reason: "to be rolled back: " + fmt.Sprintf(format, args...)}
	}
	to, known := d.Kept(d.Rollback.To)
	kept, keeps := d.Kept(d.Rollback.Kept)
	switch {
	case d.Move != "":
		return wait("it is in move %s", d.Move)
	case !known || !keeps || to.Taken == nil || kept.Removed:
		return wait("its record names snapshots that are not there")
	case !c.Held(*to.Taken):
		return wait("snapshot %s is not on %s", to.Name, v.name(v.me))
	case c.Mounted != "":
		return v.unmount(c)
	case kept.Taken == nil:
		s := v.takeSnapshot(d, c, kept)
		s.Still = true
		return s
	case !c.Held(*kept.Taken):
		return wait("snapshot %s, which keeps what it is now, is not on %s", kept.Name, v.name(v.me))
	}
	return Revert{Dataset: d.ID, ID: kept.ID, Snapshot: to.Taken.Name, Kept: kept.Taken.Name}
}

// rollingBack says which of the application's datasets is being rolled back: until it is, nothing of the application runs.
func (v view) rollingBack(a cluster.Application) string {
	if a.Move != "" {
		return ""
	}
	for _, id := range a.DatasetIDs() {
		if d := v.desired.Datasets[id]; d.Rollback != nil && d.Move == "" && !d.Deleted {
			return fmt.Sprintf("dataset %s is being rolled back", id)
		}
	}
	return ""
}

// mayRevert permits giving up a head of which a kept snapshot holds all there is, to the snapshot that was asked for.
func (v view) mayRevert(s Revert) bool {
	d, ok := v.desired.Datasets[s.Dataset]
	c := v.seen.Copies[s.Dataset]
	if !ok || d.Owner != v.me || d.Deleted || d.Move != "" || d.Rollback == nil || d.Rollback.Kept != s.ID {
		return false
	}
	to, known := d.Kept(d.Rollback.To)
	kept, keeps := d.Kept(d.Rollback.Kept)
	if !known || !keeps || to.Taken == nil || kept.Taken == nil || kept.Removed {
		return false
	}
	named := to.Taken.Name == s.Snapshot && kept.Taken.Name == s.Kept && c.Held(*to.Taken) && c.Held(*kept.Taken)
	head := c.Head && c.Mounted == "" && carries(c, d.Epoch) && c.Scratch == "" && stale(d, c) == ""
	return named && head && v.user(d.ID) == ""
}
