// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// Status is what exists of a cluster, the control first.
type Status struct {
	Name     string          `json:"name"`
	Subnet   netip.Prefix    `json:"subnet"`
	Machines []MachineStatus `json:"machines"`
}

// MachineStatus is one machine's state: that of its container, and of the processes in it where it runs.
type MachineStatus struct {
	Node
	State    string                   `json:"state"` // running, paused, exited, created
	Image    string                   `json:"image"`
	Link     string                   `json:"link,omitempty"`
	CutFrom  []string                 `json:"cut_from,omitempty"`
	BootID   string                   `json:"boot_id,omitempty"`
	Children []supervisor.ChildStatus `json:"children,omitempty"`
}

// Status asks every machine at once.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	machines, err := c.machines(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{Name: c.name, Subnet: c.subnet, Machines: make([]MachineStatus, len(machines))}
	group, ctx := errgroup.WithContext(ctx)
	for i, m := range machines {
		group.Go(func() error {
			var err error
			s.Machines[i], err = c.statusOf(ctx, m, machines)
			return err
		})
	}
	return s, group.Wait()
}

func (c *Cluster) statusOf(ctx context.Context, m machine, all []machine) (MachineStatus, error) {
	s := MachineStatus{Node: m.Node, State: string(m.summary.State), Image: m.summary.Image}
	settings, err := c.network(ctx, m.Node)
	if err != nil {
		return s, err
	}
	s.Link = settings.Link
	for _, cut := range settings.Cut {
		if name := nameOf(cut, all); !slices.Contains(s.CutFrom, name) {
			s.CutFrom = append(s.CutFrom, name)
		}
	}
	if !m.running() {
		return s, nil
	}
	supervision, err := c.supervision(ctx, m.Node)
	if _, silent := errors.AsType[*ExitError](err); silent || errors.Is(err, ErrNotRunning) {
		return s, nil // going up or down at this moment
	}
	s.BootID, s.Children = supervision.BootID, supervision.Children
	return s, err
}

func nameOf(a netip.Addr, all []machine) string {
	for _, m := range all {
		if m.Address == a || m.Address6 == a {
			return m.Name
		}
	}
	return a.String()
}
