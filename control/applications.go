// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// DeleteApplication removes an application; its datasets stay. A move under way is cancelled while it can be.
func (s *Service) DeleteApplication(ctx context.Context, by, name string) (cluster.Application, error) {
	var a cluster.Application
	rev, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		a, err = s.removeApplication(ctx, d, name)
		return err
	})
	if err != nil {
		return cluster.Application{}, fmt.Errorf("delete application %s: %w", name, err)
	}
	a.Revision = rev
	s.log.Info("application deleted", "application", name, "by", by)
	return a, nil
}

func (s *Service) removeApplication(ctx context.Context, d *draft, name string) (cluster.Application, error) {
	a, err := d.application(name)
	if err != nil {
		return a, err
	}
	if err := s.cancelFor(ctx, d, "it", a.Move, "the application is to be deleted"); err != nil {
		return a, err
	}
	if err := d.dropSchedules(ctx, func(x cluster.Schedule) bool { return x.Application == name }); err != nil {
		return a, err
	}
	a.Deleted = true
	if err := store.Put(d.tx, doomKey(applicationObject(name)), store.Doom{}); err != nil {
		return a, err
	}
	return a, d.putApplication(a)
}

// ApplicationLogs are the last lines of an application's container, from its node.
func (s *Service) ApplicationLogs(ctx context.Context, name string, lines int) (io.ReadCloser, error) {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return nil, err
	}
	a, ok := w.applications[name]
	if !ok {
		return nil, fmt.Errorf("application %q: %w", name, cluster.ErrNotFound)
	}
	if s.peers == nil {
		return nil, fmt.Errorf("logs of application %s: this service reaches no agents: %w", name, cluster.ErrUnavailable)
	}
	n := w.node(a.Node)
	if !n.Alive() {
		return nil, fmt.Errorf("logs of application %s: node %s is not alive: %w", name, n.Name, cluster.ErrUnavailable)
	}
	logs, err := s.peers.Logs(ctx, n, name, lines)
	if err != nil {
		return nil, fmt.Errorf("logs of application %s on node %s: %w", name, n.Name, err)
	}
	return logs, nil
}

// PreflightMove asks the source what a move would meet and take, and changes nothing.
func (s *Service) PreflightMove(ctx context.Context, by string, r api.MoveRequest) (api.PreflightReport, error) {
	var m cluster.Move
	var source cluster.Node
	var warnings []api.Check
	used, err := s.usedPorts(ctx)
	if err != nil {
		return api.PreflightReport{}, fmt.Errorf("preflight: look at the nodes' ports: %w", err)
	}
	_, err = s.store.Read(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		m, err = s.planMove(ctx, d, by, r)
		source, warnings = d.nodes[m.Source], used.portChecks(m, d)
		return err
	})
	if err != nil {
		return api.PreflightReport{}, fmt.Errorf("preflight of a move of %s: %w", firstOf(r.Application, r.Dataset), err)
	}
	if s.peers == nil {
		return api.PreflightReport{}, fmt.Errorf("preflight: this service reaches no agents: %w", cluster.ErrUnavailable)
	}
	report, err := s.peers.Preflight(ctx, source, m)
	if err != nil {
		return report, fmt.Errorf("preflight on node %s: %w", source.Name, err)
	}
	report.Checks = append(report.Checks, warnings...)
	return report, nil
}

func (w *world) applicationInfos() []api.ApplicationInfo {
	infos := make([]api.ApplicationInfo, 0, len(w.applications))
	for _, name := range sortedKeys(w.applications) {
		infos = append(infos, w.applicationInfo(w.applications[name]))
	}
	return infos
}

func (w *world) applicationInfo(a cluster.Application) api.ApplicationInfo {
	info := api.ApplicationInfo{
		Application: a, Address6: w.address6(a.Address), NodeName: w.nodes[a.Node].Name, Pending: w.pendingOn(applicationObject(a.Name)),
	}
	for _, id := range sortedKeys(w.observed) {
		c, here := w.observed[id].Containers[a.Name]
		switch {
		case !here:
		case id == a.Node:
			info.Container = &c
		default:
			if info.Elsewhere == nil {
				info.Elsewhere = map[string]cluster.Container{}
			}
			info.Elsewhere[w.nodes[id].Name] = c
		}
	}
	if reason := w.applicationWaits(a, info); info.Pending == nil && reason != "" {
		info.Pending = []api.Pending{{Object: applicationObject(a.Name), Name: a.Name, Node: info.NodeName, Status: cluster.Status{Reason: reason}}}
	}
	info.Warnings = append(w.portWarnings(a), w.standbyWarnings(a, time.Now())...)
	return info
}

// applicationWaits explains what no node speaks of.
func (w *world) applicationWaits(a cluster.Application, info api.ApplicationInfo) string {
	switch {
	case a.Deleted:
		return "it is being removed"
	case !w.node(a.Node).Alive():
		return fmt.Sprintf("node %s, where it belongs, is not alive", info.NodeName)
	case lacksAddress(a):
		return "it has no address in the cluster network: see the control service's log"
	case info.Container == nil && a.Move == "":
		return fmt.Sprintf("node %s is to make its container", info.NodeName)
	case info.Container != nil && info.Container.State == cluster.ContainerCreated && a.Move == "":
		return fmt.Sprintf("node %s is to start it", info.NodeName)
	}
	return ""
}
