// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// Status shows the whole cluster, and everything that is pending with its reason.
func (s *Service) Status(ctx context.Context) (api.Status, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return api.Status{}, err
	}
	return s.statusOf(w), nil
}

func (s *Service) statusOf(w *world) api.Status {
	st := api.Status{
		Cluster: w.meta.Cluster, Incarnation: w.meta.Incarnation, Unconfirmed: w.meta.Unconfirmed, Revision: w.revision, Fabric: w.fabric,
		Nodes: w.nodeInfos(s), Applications: w.applicationInfos(), Datasets: w.datasetInfos(),
		Moves: []api.MoveInfo{}, Pending: []api.Pending{},
	}
	for _, id := range sortedKeys(w.moves) {
		if m := w.moves[id]; !m.Phase.Terminal() {
			info := w.moveInfo(m)
			st.Moves = append(st.Moves, info)
			st.Pending = append(st.Pending, info.Waiting...)
		}
	}
	for _, a := range st.Applications {
		st.Pending = append(st.Pending, a.Pending...)
	}
	for _, d := range st.Datasets {
		st.Pending = append(st.Pending, d.Pending...)
	}
	for _, x := range w.scheduleInfos(s.now()) {
		if x.Reason != "" {
			st.Pending = append(st.Pending, api.Pending{Object: scheduleObject(x.ID), Name: x.Of() + " " + x.Name, Status: cluster.Status{Reason: x.Reason, Since: x.Since}})
		}
	}
	for _, n := range st.Nodes {
		st.Pending = append(st.Pending, nodeWaits(n, w.observed[n.ID].Status[cluster.StatusOfNode])...)
	}
	return st
}

// nodeWaits says what keeps a node from its work; trouble is what it says itself.
func nodeWaits(n api.NodeInfo, trouble cluster.Status) []api.Pending {
	since, reason := n.LastSeen, ""
	switch {
	case n.Fence != nil:
		reason = fmt.Sprintf("it was fenced by %s; it comes back with its next boot", n.Fence.By)
	case !n.IsAlive:
		reason = fmt.Sprintf("it is not alive, last heard %s ago", n.Silent.Std().Round(1e9))
	case trouble.Reason != "":
		since, reason = trouble.Since, "it can do nothing: "+trouble.Reason
	case unusable(n) != "":
		reason = unusable(n) + "; what is in it is left as it is"
	default:
		return nil
	}
	return []api.Pending{{Object: nodeObject(n.ID), Name: n.Name, Node: n.Name, Status: cluster.Status{Reason: reason, Since: since}}}
}

// unusable says which of a node's back ends cannot be used.
func unusable(n api.NodeInfo) string {
	var problems []string
	for _, s := range n.Storages() {
		if s.Error != "" {
			problems = append(problems, fmt.Sprintf("its storage %s cannot be used: %s", s.Backend, s.Error))
		}
	}
	return strings.Join(problems, "; ")
}

// ConfirmRestore lets agents act on a store that was restored from a backup.
func (s *Service) ConfirmRestore(ctx context.Context, by string) (api.Status, error) {
	if _, err := s.store.Confirm(ctx); err != nil {
		return api.Status{}, fmt.Errorf("confirm the restored store: %w", err)
	}
	s.log.Warn("restored store confirmed", "by", by)
	return s.Status(ctx)
}

// Version says what runs the cluster.
func (s *Service) Version(ctx context.Context) (api.Version, error) {
	meta, err := s.incarnation(ctx)
	return api.Version{Flocker: s.version, Protocol: cluster.ProtocolVersion, Cluster: meta.Cluster}, err
}
