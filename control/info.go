// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// ListDatasets shows every dataset, by name.
func (s *Service) ListDatasets(ctx context.Context) ([]api.DatasetInfo, error) {
	w, err := readWorld(ctx, s.store)
	return w.datasetInfos(), err
}

// GetDataset shows one, by UUID or name.
func (s *Service) GetDataset(ctx context.Context, ref string) (api.DatasetInfo, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return api.DatasetInfo{}, err
	}
	d := draft{datasets: w.datasets}
	n, err := d.find(ref)
	if err != nil {
		return api.DatasetInfo{}, err
	}
	return w.datasetInfo(n), nil
}

// ListApplications shows every application, by name.
func (s *Service) ListApplications(ctx context.Context) ([]api.ApplicationInfo, error) {
	w, err := readWorld(ctx, s.store)
	return w.applicationInfos(), err
}

// GetApplication shows one.
func (s *Service) GetApplication(ctx context.Context, name string) (api.ApplicationInfo, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return api.ApplicationInfo{}, err
	}
	a, ok := w.applications[name]
	if !ok {
		return api.ApplicationInfo{}, fmt.Errorf("application %q: %w", name, cluster.ErrNotFound)
	}
	return w.applicationInfo(a), nil
}

// ListNodes shows every node, by name.
func (s *Service) ListNodes(ctx context.Context) ([]api.NodeInfo, error) {
	w, err := readWorld(ctx, s.store)
	return w.nodeInfos(s), err
}

// NodeStorage asks a node what of its storage works and what is missing.
func (s *Service) NodeStorage(ctx context.Context, ref string) (api.StorageReport, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return api.StorageReport{}, err
	}
	n, err := findNode(w.nodes, ref)
	if err != nil {
		return api.StorageReport{}, err
	}
	n = w.node(n.ID)
	switch {
	case s.peers == nil:
		err = fmt.Errorf("this service reaches no agents: %w", cluster.ErrUnavailable)
	case !n.Alive():
		err = fmt.Errorf("its agent is not alive: %w", cluster.ErrUnavailable)
	}
	var report api.StorageReport
	if err == nil {
		report, err = s.peers.Storage(ctx, n)
	}
	if err != nil {
		return api.StorageReport{}, fmt.Errorf("storage of node %s: %w", n.Name, err)
	}
	return report, nil
}

// ListMoves shows the moves, newest first.
func (s *Service) ListMoves(ctx context.Context) ([]api.MoveInfo, error) {
	w, err := readWorld(ctx, s.store)
	infos := make([]api.MoveInfo, 0, len(w.moves))
	for _, m := range w.moves {
		infos = append(infos, w.moveInfo(m))
	}
	slices.SortFunc(infos, func(a, b api.MoveInfo) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return infos, err
}

// GetMove shows one, by UUID or a prefix of it.
func (s *Service) GetMove(ctx context.Context, ref string) (api.MoveInfo, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return api.MoveInfo{}, err
	}
	m, err := w.move(ref)
	if err != nil {
		return api.MoveInfo{}, err
	}
	return w.moveInfo(m), nil
}

func (w *world) move(ref string) (cluster.Move, error) {
	if m, ok := w.moves[cluster.MoveID(ref)]; ok {
		return m, nil
	}
	for _, id := range sortedKeys(w.moves) {
		if len(ref) >= 4 && strings.HasPrefix(string(id), ref) {
			return w.moves[id], nil
		}
	}
	return cluster.Move{}, fmt.Errorf("move %q: %w", ref, cluster.ErrNotFound)
}

// WatchMove sends a move each time it or its progress has changed, until it has ended.
func (s *Service) WatchMove(ctx context.Context, ref string, send func(api.MoveInfo) error) error {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return err
	}
	m, err := w.move(ref)
	if err != nil {
		return err
	}
	if err := send(w.moveInfo(m)); err != nil || m.Phase.Terminal() {
		return err
	}
	err = s.store.Watch(ctx, w.revision+1, func(b store.Batch) error {
		if err := w.applyBatch(b); err != nil {
			return err
		}
		if !slices.ContainsFunc(b.Changes, func(c store.Change) bool { return concerns(c, m.ID) }) {
			return nil
		}
		now, there := w.moves[m.ID]
		if !there {
			return errEnded
		}
		if err := send(w.moveInfo(now)); err != nil {
			return err
		}
		if now.Phase.Terminal() {
			return errEnded
		}
		return nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// errEnded ends the watch of a move that has ended.
var errEnded = errors.New("the move has ended")

func concerns(c store.Change, id cluster.MoveID) bool {
	return c.Key == string(store.Moves.Under(string(id))) || c.Key == string(store.Progress.Under(string(id)))
}

func (w *world) datasetInfos() []api.DatasetInfo {
	infos := make([]api.DatasetInfo, 0, len(w.datasets))
	for _, d := range w.datasets {
		infos = append(infos, w.datasetInfo(d))
	}
	slices.SortFunc(infos, func(a, b api.DatasetInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return infos
}

func (w *world) datasetInfo(d cluster.Dataset) api.DatasetInfo {
	info := api.DatasetInfo{Dataset: d, Pending: w.pendingOn(datasetObject(d.ID))}
	if lease, held := w.leases[d.ID]; held {
		info.Lease = &lease
	}
	for _, name := range sortedKeys(w.applications) {
		if slices.Contains(w.applications[name].DatasetIDs(), d.ID) {
			info.UsedBy = append(info.UsedBy, name)
		}
	}
	for _, id := range sortedKeys(w.observed) {
		c, here := w.observed[id].Copies[d.ID]
		if !here {
			continue
		}
		ci := api.CopyInfo{Copy: c, Node: id, NodeName: w.nodes[id].Name, Owner: id == d.Owner}
		if !ci.Owner {
			info.Copies = append(info.Copies, ci)
			continue
		}
		info.Copies = slices.Insert(info.Copies, 0, ci)
		if w.node(id).Alive() && !d.Half(c) {
			info.Path = c.Mounted
		}
	}
	if info.Pending == nil {
		info.Pending = w.datasetWaits(d, info)
	}
	return info
}

// datasetWaits explains what no node speaks of.
func (w *world) datasetWaits(d cluster.Dataset, info api.DatasetInfo) []api.Pending {
	owner := w.node(d.Owner)
	wait := func(format string, args ...any) []api.Pending {
		return []api.Pending{{Object: datasetObject(d.ID), Name: d.Name, Node: owner.Name, Status: cluster.Status{Reason: fmt.Sprintf(format, args...)}}}
	}
	switch {
	case d.Deleted:
		return wait("it is being destroyed on every node that has a copy")
	case !owner.Alive():
		return wait("node %s, which owns it, is not alive", owner.Name)
	case d.ByFiles() && !d.Born:
		return wait("node %s is to copy its files", owner.Name)
	case !d.Born && len(info.Copies) == 0:
		return wait("node %s is to make it", owner.Name)
	case info.Path == "" && d.Move == "":
		return wait("node %s is to mount it", owner.Name)
	}
	return nil
}

func (w *world) moveInfo(m cluster.Move) api.MoveInfo {
	info := api.MoveInfo{Move: m, SourceName: w.nodes[m.Source].Name, TargetName: w.nodes[m.Target].Name}
	if p, ok := w.progress[m.ID]; ok && !m.Phase.Terminal() {
		info.Progress = &p
	}
	if !m.Phase.Terminal() {
		info.Waiting = w.pendingOn(moveObject(m.ID))
	}
	return info
}

func (w *world) nodeInfos(s *Service) []api.NodeInfo {
	infos := make([]api.NodeInfo, 0, len(w.nodes))
	for id := range w.nodes {
		infos = append(infos, w.nodeInfo(id, s))
	}
	slices.SortFunc(infos, func(a, b api.NodeInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return infos
}

func (w *world) nodeInfo(id cluster.NodeID, s *Service) api.NodeInfo {
	n := w.node(id)
	info := api.NodeInfo{
		Node: n, ClusterAddress6: w.address6(n.ClusterAddress), IsAlive: n.Alive(), Storage: w.observed[id].Storage, Further: w.observed[id].Further,
		Silent: cluster.Duration(w.age(id, s.now())),
	}
	for _, name := range sortedKeys(w.applications) {
		if w.applications[name].Node == id {
			info.Applications = append(info.Applications, name)
		}
	}
	for _, d := range w.datasets {
		_, here := w.observed[id].Copies[d.ID]
		switch {
		case d.Owner == id:
			info.Datasets++
		case here:
			info.Replicas++
		}
	}
	return info
}

// address6 is the IPv6 address that goes with an address of the cluster network; empty where there is none.
func (w *world) address6(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "" // it is still to get one
	}
	if addr = cluster.Address6(w.fabric.Prefix6(), addr); !addr.IsValid() {
		return ""
	}
	return addr.String()
}

// pendingOn is what the nodes that are alive say of an object.
func (w *world) pendingOn(object string) []api.Pending {
	var all []api.Pending
	for _, id := range sortedKeys(w.observed) {
		st, ok := w.observed[id].Status[object]
		if n := w.node(id); ok && n.Alive() {
			all = append(all, api.Pending{Object: object, Name: w.nameOf(object), Node: n.Name, Status: st})
		}
	}
	return all
}

// nameOf is what people call an object.
func (w *world) nameOf(object string) string {
	kind, name, _ := strings.Cut(object, "/")
	switch kind {
	case "dataset":
		return firstOf(w.datasets[cluster.DatasetID(name)].Name, name)
	case "node":
		return firstOf(w.nodes[cluster.NodeID(name)].Name, name)
	}
	return name
}
