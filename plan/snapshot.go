// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// prune removes one snapshot that links nothing and that nobody asked to keep. The owner decides and replicas
// follow: the owner keeps its newest and the newest it has in common with each other node;
// a replica gives up only what the owner no longer has, and never its newest. As a replica's
// snapshots all came from the owner, reports that are late make both keep more, never less.
func (v view) prune(d cluster.Dataset, c cluster.Copy) Step {
	if d.Move != "" || d.Owner != v.me && c.Divergent || len(c.Snapshots) == 0 || !v.reported(d.ID) {
		return nil
	}
	var needed func(cluster.Snapshot) bool
	if v.attaches(d.ID) {
		needed = func(cluster.Snapshot) bool { return false } // the next owner gets the same volume: only what somebody asked for stays
	} else if d.Owner == v.me {
		needed = v.neededByOwner(d, c)
	} else {
		needed = neededByReplica(v.desired.Elsewhere[d.Owner].Copies[d.ID], c)
	}
	for _, s := range c.Snapshots {
		if !needed(s) && !d.Keeps(s) {
			return PruneSnapshot{Dataset: d.ID, Snapshot: s.Name}
		}
	}
	return nil
}

// reported says whether every other node has ever told what it holds, in the dataset's back end too: one that was never looked at can do
// nothing yet. What was told before a back end could not be looked at any more still counts.
func (v view) reported(id cluster.DatasetID) bool {
	for n := range v.desired.Nodes {
		other, ok := v.desired.Elsewhere[n]
		never := other.Unknown(v.backend(id)) != "" && other.Back(v.backend(id)).Capabilities == (cluster.Capabilities{})
		if (!ok || never) && n != v.me {
			return false
		}
	}
	return v.desired.Datasets[id].Adopt == ""
}

func (v view) neededByOwner(d cluster.Dataset, c cluster.Copy) func(cluster.Snapshot) bool {
	keep := map[string]bool{}
	// What somebody asked to have removed is not kept for being the newest: the head has it all.
	if rest := slices.DeleteFunc(slices.Clone(c.Snapshots), func(s cluster.Snapshot) bool { return letGo(d, s) }); len(rest) > 0 {
		keep[newest(rest).ID] = true
	}
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

// letGo says whether somebody asked to have the snapshot removed.
func letGo(d cluster.Dataset, s cluster.Snapshot) bool {
	return slices.ContainsFunc(d.Snapshots, func(k cluster.KeptSnapshot) bool { return k.Removed && k.Taken != nil && k.Taken.ID == s.ID })
}

// mayPrune keeps what somebody asked to keep, whoever asks.
func (v view) mayPrune(s PruneSnapshot) bool {
	d, c := v.desired.Datasets[s.Dataset], v.seen.Copies[s.Dataset]
	return !slices.ContainsFunc(c.Snapshots, func(o cluster.Snapshot) bool { return o.Name == s.Snapshot && d.Keeps(o) })
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
