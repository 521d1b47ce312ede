// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// prune removes one snapshot that links nothing. The owner decides and replicas
// follow: the owner keeps its newest and the newest it has in common with each other node;
// a replica gives up only what the owner no longer has, and never its newest. As a replica's
// snapshots all came from the owner, reports that are late make both keep more, never less.
func (v view) prune(d cluster.Dataset, c cluster.Copy) Step {
	if d.Move != "" || d.Owner != v.me && c.Divergent || len(c.Snapshots) < 2 || !v.reported(d.ID) {
		return nil
	}
	var needed func(cluster.Snapshot) bool
	if d.Owner == v.me {
		needed = v.neededByOwner(c)
	} else {
		needed = neededByReplica(v.desired.Elsewhere[d.Owner].Copies[d.ID], c)
	}
	for _, s := range c.Snapshots {
		if !needed(s) {
			return PruneSnapshot{Dataset: d.ID, Snapshot: s.Name}
		}
	}
	return nil
}

// reported says whether every other node has ever told what it holds.
func (v view) reported(id cluster.DatasetID) bool {
	for n := range v.desired.Nodes {
		if _, ok := v.desired.Elsewhere[n]; !ok && n != v.me {
			return false
		}
	}
	return v.desired.Datasets[id].Adopt == ""
}

func (v view) neededByOwner(c cluster.Copy) func(cluster.Snapshot) bool {
	keep := map[string]bool{newest(c.Snapshots).ID: true}
	for n, other := range v.desired.Elsewhere {
		if n == v.me {
			continue
		}
		theirs := other.Copies[c.Dataset].Snapshots
		common := slices.DeleteFunc(slices.Clone(c.Snapshots), func(s cluster.Snapshot) bool { return !contains(theirs, s) })
		if len(common) > 0 {
			keep[newest(common).ID] = true
		}
	}
	return func(s cluster.Snapshot) bool { return keep[s.ID] }
}

func neededByReplica(owner, mine cluster.Copy) func(cluster.Snapshot) bool {
	last := newest(mine.Snapshots)
	return func(s cluster.Snapshot) bool {
		known := len(owner.Snapshots) > 0 && older(s, newest(owner.Snapshots))
		return s.ID == last.ID || !known || contains(owner.Snapshots, s)
	}
}

func contains(list []cluster.Snapshot, s cluster.Snapshot) bool {
	return slices.ContainsFunc(list, func(o cluster.Snapshot) bool { return o.ID == s.ID })
}

func newest(list []cluster.Snapshot) cluster.Snapshot {
	last := list[0]
	for _, s := range list[1:] {
		if older(last, s) {
			last = s
		}
	}
	return last
}

func older(a, b cluster.Snapshot) bool {
	return a.Epoch < b.Epoch || a.Epoch == b.Epoch && a.Serial < b.Serial
}
