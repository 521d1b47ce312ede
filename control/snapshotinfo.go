// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// ListSnapshots shows the snapshots of a dataset, or of all where it is empty: by dataset, oldest first.
func (s *Service) ListSnapshots(ctx context.Context, dataset string) ([]api.SnapshotInfo, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return nil, err
	}
	if dataset == "" {
		return w.snapshotInfos(func(cluster.KeptSnapshot, cluster.Dataset) bool { return true }), nil
	}
	d := draft{datasets: w.datasets}
	n, err := d.dataset(dataset)
	if err != nil {
		return nil, err
	}
	return w.snapshotInfos(func(_ cluster.KeptSnapshot, of cluster.Dataset) bool { return of.ID == n.ID }), nil
}

func (w *world) snapshotInfos(of func(cluster.KeptSnapshot, cluster.Dataset) bool) []api.SnapshotInfo {
	infos := []api.SnapshotInfo{}
	for _, d := range w.datasets {
		for _, k := range d.Snapshots {
			if of(k, d) && !d.Deleted {
				infos = append(infos, w.snapshotInfo(d, k))
			}
		}
	}
	slices.SortFunc(infos, func(a, b api.SnapshotInfo) int {
		return cmp.Or(cmp.Compare(a.DatasetName, b.DatasetName), a.Asked.Compare(b.Asked), cmp.Compare(a.Name, b.Name))
	})
	return infos
}

func (w *world) snapshotInfo(d cluster.Dataset, k cluster.KeptSnapshot) api.SnapshotInfo {
	info := api.SnapshotInfo{KeptSnapshot: k, Dataset: d.ID, DatasetName: d.Name, State: api.SnapshotAsked}
	if k.Taken != nil {
		info.State = api.SnapshotTaken
		info.Nodes, info.Used = w.holdersOf(d, *k.Taken)
	}
	if k.Removed {
		info.State = api.SnapshotRemoved
	}
	info.Reason = w.snapshotWaits(d, k, info)
	return info
}

// holdersOf are the names of the nodes that have a snapshot, the owner's first, and the bytes that it alone takes up.
func (w *world) holdersOf(d cluster.Dataset, s cluster.Snapshot) (names []string, used int64) {
	for _, id := range sortedKeys(w.observed) {
		held := w.observed[id].Copies[d.ID].Snapshots
		i := slices.IndexFunc(held, func(o cluster.Snapshot) bool { return o.Name == s.Name && o.ID == s.ID })
		name := firstOf(w.nodes[id].Name, string(id))
		switch {
		case i < 0:
		case id == d.Owner:
			names, used = slices.Insert(names, 0, name), held[i].Used
		default:
			names = append(names, name)
		}
	}
	return names, used
}

// snapshotWaits explains what keeps a snapshot from being what was asked for.
func (w *world) snapshotWaits(d cluster.Dataset, k cluster.KeptSnapshot, info api.SnapshotInfo) string {
	owner := w.node(d.Owner)
	held := k.Taken != nil && w.observed[d.Owner].Copies[d.ID].Held(*k.Taken)
	switch {
	case k.Removed && len(info.Nodes) > 1:
		return "it is what the replica on " + strings.Join(info.Nodes[1:], ", ") + " was made from, and goes with the next move there"
	case k.Removed:
		return fmt.Sprintf("node %s is to remove it", owner.Name)
	case k.Taken != nil && !held && len(info.Nodes) > 0:
		return fmt.Sprintf("it is not on node %s, which owns the dataset", owner.Name)
	case k.Taken != nil && !held:
		return "no node reports that it has it"
	case k.Taken != nil:
		return ""
	case d.Move != "":
		return "the dataset is being moved; it is taken after that"
	case !owner.Alive():
		return fmt.Sprintf("node %s, which owns the dataset, is not alive", owner.Name)
	}
	for _, object := range []string{datasetObject(d.ID), applicationObject(k.Application)} {
		if pending := w.pendingOn(object); len(pending) > 0 {
			return pending[0].Reason
		}
	}
	return fmt.Sprintf("node %s is to take it", owner.Name)
}
