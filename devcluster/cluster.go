// SPDX-License-Identifier: Apache-2.0

// Package devcluster makes a whole cluster on one machine: every node is a container with its own Docker engine and a
// supervisor, on a private network whose links can be shaped and cut.
package devcluster

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/cluster"
)

// Cluster is a development cluster that exists.
type Cluster struct {
	engine  *Engine
	name    string
	subnet  netip.Prefix
	subnet6 netip.Prefix // not valid without IPv6
}

// Open finds the cluster of that name; it answers ErrNoCluster where there is none.
func Open(ctx context.Context, e *Engine, name string) (*Cluster, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	networks, err := e.docker.NetworkList(ctx, client.NetworkListOptions{
		Filters: make(client.Filters).Add("label", labelCluster+"="+name),
	})
	if err != nil {
		return nil, fmt.Errorf("find cluster %s: %w", name, err)
	}
	for _, n := range networks.Items {
		if n.Name != networkName(name) {
			continue
		}
		c := &Cluster{engine: e, name: name}
		for _, pool := range n.IPAM.Config {
			if pool.Subnet.Addr().Is4() {
				c.subnet = pool.Subnet
			} else {
				c.subnet6 = pool.Subnet
			}
		}
		if c.subnet.IsValid() {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: %s (flocker dev up makes one)", ErrNoCluster, name)
}

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.name }

// Subnet is the network of the nodes; its first address is this machine's.
func (c *Cluster) Subnet() netip.Prefix { return c.subnet }

// Host is this machine's address in the cluster's network.
func (c *Cluster) Host() netip.Addr { return c.subnet.Addr().Next() }

// Node gives a node's container and address from its name; whether it exists is not asked.
func (c *Cluster) Node(name string) (Node, error) { return nodeAt(c.name, c.subnet, c.subnet6, name) }

// Control is the machine of the control service.
func (c *Cluster) Control() Node {
	n, err := c.Node(ControlName)
	if err != nil {
		panic(err) // a constant name
	}
	return n
}

// Nodes lists the nodes that exist, without the control, in the order of their numbers.
func (c *Cluster) Nodes(ctx context.Context) ([]Node, error) {
	machines, err := c.machines(ctx)
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for _, m := range machines {
		if !m.IsControl() {
			nodes = append(nodes, m.Node)
		}
	}
	return nodes, nil
}

// machine is a node or the control as the engine knows it.
type machine struct {
	Node
	summary container.Summary
}

func (m machine) running() bool { return m.summary.State == container.StateRunning }

// machines lists what exists, the control first.
func (c *Cluster) machines(ctx context.Context) ([]machine, error) {
	list, err := c.engine.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: c.filter()})
	if err != nil {
		return nil, fmt.Errorf("list nodes of cluster %s: %w", c.name, err)
	}
	machines := make([]machine, 0, len(list.Items))
	for _, item := range list.Items {
		n, err := c.Node(item.Labels[labelNode])
		if err != nil {
			return nil, err
		}
		machines = append(machines, machine{n, item})
	}
	slices.SortFunc(machines, func(a, b machine) int { return a.Address.Compare(b.Address) })
	return machines, nil
}

func (c *Cluster) machine(ctx context.Context, name string) (machine, error) {
	machines, err := c.machines(ctx)
	if err != nil {
		return machine{}, err
	}
	names := make([]string, len(machines))
	for i, m := range machines {
		if m.Name == name {
			return m, nil
		}
		names[i] = m.Name
	}
	return machine{}, fmt.Errorf("%w: %q (there are: %s)", ErrNoNode, name, strings.Join(names, ", "))
}

func (c *Cluster) filter() client.Filters {
	return make(client.Filters).Add("label", labelCluster+"="+c.name)
}

func (c *Cluster) labels(node string) map[string]string {
	labels := map[string]string{labelCluster: c.name}
	if node != "" {
		labels[labelNode] = node
	}
	return labels
}

// ensureNetwork makes the cluster's network, by which the cluster exists.
func ensureNetwork(ctx context.Context, e *Engine, name string, ipv6 bool) (*Cluster, error) {
	used, err := e.usedSubnets(ctx)
	if err != nil {
		return nil, err
	}
	subnet, err := chooseSubnet(used)
	if err != nil {
		return nil, err
	}
	c := &Cluster{engine: e, name: name, subnet: subnet}
	pools := []network.IPAMConfig{{Subnet: subnet, Gateway: c.Host()}}
	if ipv6 {
		// Clusters of this machine have different IPv4 subnets, and so they have different ones of these.
		c.subnet6 = cluster.OwnSubnet6("flocker dev " + subnet.String())
		pools = append(pools, network.IPAMConfig{Subnet: c.subnet6, Gateway: cluster.Address6(c.subnet6, c.Host())})
	}
	_, err = e.docker.NetworkCreate(ctx, networkName(name), client.NetworkCreateOptions{
		Driver:     "bridge",
		EnableIPv6: &ipv6,
		IPAM:       &network.IPAM{Config: pools},
		Labels:     map[string]string{labelCluster: name},
	})
	if err != nil {
		return nil, fmt.Errorf("make network %s: %w", networkName(name), err)
	}
	return c, nil
}
