// SPDX-License-Identifier: Apache-2.0

package block

import (
	"cmp"
	"maps"
	"slices"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// keep notes a snapshot that was taken here.
func (l *listing) keep(id cluster.DatasetID, s backend.VolumeSnapshot) {
	l.unkeep(id, s.Name)
	l.rewrite(id, func(list []backend.VolumeSnapshot) []backend.VolumeSnapshot {
		list = append(list, s)
		slices.SortFunc(list, func(a, b backend.VolumeSnapshot) int { return cmp.Compare(a.Name, b.Name) })
		return list
	})
}

// unkeep notes that a snapshot was removed here.
func (l *listing) unkeep(id cluster.DatasetID, name string) {
	l.rewrite(id, func(list []backend.VolumeSnapshot) []backend.VolumeSnapshot {
		return slices.DeleteFunc(list, func(s backend.VolumeSnapshot) bool { return s.Name == name })
	})
}

// rewrite changes a copy of what is known of a volume's snapshots: others may read the list.
func (l *listing) rewrite(id cluster.DatasetID, change func([]backend.VolumeSnapshot) []backend.VolumeSnapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.volumes[id]) != 1 {
		return
	}
	v := l.volumes[id][0]
	v.Snapshots = change(slices.Clone(v.Snapshots))
	l.volumes[id] = []backend.Volume{v}
	l.touch(id)
}

// doubt notes that a volume's snapshots may be others than were listed.
func (l *listing) doubt(id cluster.DatasetID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubted[id] = true
}

// doubtful are the volumes of which the snapshots have to be asked for, with when each was changed here last.
func (l *listing) doubtful() map[cluster.DatasetID]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[cluster.DatasetID]uint64{}
	for id := range maps.Keys(l.doubted) {
		all[id] = l.changed[id]
	}
	return all
}

// learned takes in the snapshots of a volume that was not changed here since they were asked for; else they are asked for again.
func (l *listing) learned(id cluster.DatasetID, since uint64, list []backend.VolumeSnapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed[id] != since || len(l.volumes[id]) != 1 {
		return
	}
	v := l.volumes[id][0]
	v.Snapshots = list
	l.volumes[id] = []backend.Volume{v}
	l.touch(id)
	delete(l.doubted, id)
}

// snapshotsSince lets a listing that was begun at a count of changes keep what was changed here after it.
func (l *listing) snapshotsSince(listed map[cluster.DatasetID][]backend.Volume, since uint64) {
	for id, now := range listed {
		switch known := l.volumes[id]; {
		case l.changed[id] <= since:
			delete(l.doubted, id)
		case len(now) == 1 && len(known) == 1:
			now[0].Snapshots = known[0].Snapshots
		}
	}
}
