// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// Link shapes what every machine of the cluster sends to rate, such as 1gbit; empty takes the shaping away.
func (c *Cluster) Link(ctx context.Context, rate string) error {
	if rate != "" {
		if _, err := supervisor.ParseRate(rate); err != nil {
			return err
		}
	}
	return c.everyNetwork(ctx, func(_ machine, n *supervisor.Network) { n.Link = rate })
}

// Partition cuts a node off from the others, or from those that are named. This machine reaches it still.
func (c *Cluster) Partition(ctx context.Context, node string, from ...string) error {
	m, err := c.machine(ctx, node)
	if err != nil {
		return err
	}
	peers, err := c.peers(ctx, m, from)
	if err != nil {
		return err
	}
	return c.changeNetwork(ctx, m, func(n *supervisor.Network) {
		for _, p := range peers {
			if !slices.Contains(n.Cut, p) {
				n.Cut = append(n.Cut, p)
			}
		}
		slices.SortFunc(n.Cut, netip.Addr.Compare)
	})
}

func (c *Cluster) peers(ctx context.Context, m machine, names []string) ([]netip.Addr, error) {
	var peers []netip.Addr
	if len(names) == 0 {
		machines, err := c.machines(ctx)
		if err != nil {
			return nil, err
		}
		for _, other := range machines {
			if other.Name != m.Name {
				peers = append(peers, other.addresses()...)
			}
		}
		return peers, nil
	}
	for _, name := range names {
		other, err := c.machine(ctx, name)
		if err != nil {
			return nil, err
		}
		if other.Name == m.Name {
			return nil, fmt.Errorf("%s cannot be cut off from itself", name)
		}
		peers = append(peers, other.addresses()...)
	}
	return peers, nil
}

// addresses are all by which others reach a machine.
func (n Node) addresses() []netip.Addr {
	if n.Address6.IsValid() {
		return []netip.Addr{n.Address, n.Address6}
	}
	return []netip.Addr{n.Address}
}

// Heal ends every partition of the cluster.
func (c *Cluster) Heal(ctx context.Context) error {
	return c.everyNetwork(ctx, func(_ machine, n *supervisor.Network) { n.Cut = nil })
}

func (c *Cluster) everyNetwork(ctx context.Context, change func(machine, *supervisor.Network)) error {
	machines, err := c.machines(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range machines {
		group.Go(func() error {
			return c.changeNetwork(ctx, m, func(n *supervisor.Network) { change(m, n) })
		})
	}
	return group.Wait()
}

// changeNetwork also works on a machine that is off: its supervisor reads the file at the next start.
func (c *Cluster) changeNetwork(ctx context.Context, m machine, change func(*supervisor.Network)) error {
	before, err := c.network(ctx, m.Node)
	if err != nil {
		return err
	}
	after := supervisor.Network{Link: before.Link, Cut: slices.Clone(before.Cut)}
	change(&after)
	if before.Link == after.Link && slices.Equal(before.Cut, after.Cut) {
		return nil
	}
	content, err := json.Marshal(after)
	if err != nil {
		return fmt.Errorf("network settings of %s: %w", m.Name, err)
	}
	if err := c.CopyTo(ctx, m.Name, supervisor.NetworkFile, content, 0o644); err != nil {
		return err
	}
	if !m.running() {
		return nil
	}
	_, err = c.Exec(ctx, m.Name, programPath, "dev", "apply-network")
	return err
}

func (c *Cluster) network(ctx context.Context, n Node) (supervisor.Network, error) {
	var settings supervisor.Network
	content, err := c.readFile(ctx, n, supervisor.NetworkFile)
	if err != nil || content == nil {
		return settings, err
	}
	if err := json.Unmarshal(content, &settings); err != nil {
		return settings, fmt.Errorf("network settings of %s: %w", n.Name, err)
	}
	return settings, nil
}
