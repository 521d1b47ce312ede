// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/network"
)

// fabricKey is the VXLAN network identifier of the cluster network, the same on all nodes.
const fabricKey = 0xf10c

// join makes this node part of the cluster network, as far as it is known. A node that has lost the control service
// stays what it was.
func (a *Agent) join(ctx context.Context, d cluster.Desired) error {
	if !d.Complete || d.Fabric.Subnet == "" || d.Nodes[a.Node].ClusterAddress == "" {
		return nil
	}
	without := a.IPv6()
	fabric, err := fabricOf(d, a.Node, without == nil)
	if err != nil {
		return fmt.Errorf("join the cluster network: %w", err)
	}
	if reflect.DeepEqual(fabric, a.joined) {
		return nil
	}
	has, err := a.joinRuntime(ctx, fabric, d.Fabric.Prefix6())
	if err != nil {
		return err
	}
	if err := a.Network.Join(ctx, has); err != nil {
		return err
	}
	if d.Fabric.Subnet6 != "" && without != nil {
		a.Log.Info("applications have no IPv6 on this node", "reason", without)
	}
	a.joined = fabric
	select {
	case <-a.member:
	default:
		close(a.member)
	}
	return nil
}

// joinRuntime returns the cluster network as the container runtime has it now. A runtime may refuse to have it with IPv6 (an
// engine without ip6tables), or to be without from now on (applications of the time before are in it): applications that
// have their IPv4 addresses are worth more than a node that waits for somebody to put that right.
func (a *Agent) joinRuntime(ctx context.Context, f network.Fabric, subnet6 netip.Prefix) (network.Fabric, error) {
	config := container.NetworkConfig{Subnet: f.Subnet, Subnet6: f.Subnet6, Gateway: f.Address}
	refused := a.Engine.Join(ctx, config)
	if refused == nil || !subnet6.IsValid() {
		return f, refused
	}
	if config.Subnet6 = subnet6; f.Subnet6.IsValid() {
		config.Subnet6 = netip.Prefix{}
	}
	if a.Engine.Join(ctx, config) != nil {
		return f, refused // what it says of the settings that are wanted
	}
	a.Log.Warn("the container runtime keeps its network with other IPv6 settings than this host has",
		"host_ipv6", f.Subnet6.IsValid(), "runtime_ipv6", config.Subnet6.IsValid(), "reason", refused)
	f.Subnet6 = netip.Prefix{}
	return f, nil
}

// untilMember waits for the first join of this process: before, no container can be made. A node that has not read of
// the cluster is not waited for: who asks decides better at once than later.
func (a *Agent) untilMember(ctx context.Context) error {
	if d, _ := a.mirror.read(); !d.Complete {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readOf)
	defer cancel()
	select {
	case <-a.member:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %s has not joined the cluster network yet: %w", a.Self.Name, cluster.ErrUnavailable)
	}
}

// fabricOf is the cluster network as a node has it, with IPv6 where both the cluster and the host have it.
func fabricOf(d cluster.Desired, self cluster.NodeID, ipv6 bool) (network.Fabric, error) {
	f := network.Fabric{Service: d.Fabric.Service(), Key: fabricKey}
	var err error
	if f.Subnet, err = cluster.ParseSubnet(d.Fabric.Subnet); err != nil {
		return f, err
	}
	if d.Fabric.Subnet6 != "" && ipv6 {
		if f.Subnet6, err = cluster.ParseSubnet6(d.Fabric.Subnet6); err != nil {
			return f, err
		}
	}
	me := d.Nodes[self]
	if f.Address, err = netip.ParseAddr(me.ClusterAddress); err != nil {
		return f, fmt.Errorf("cluster address of node %s: %w", me.Name, err)
	}
	if f.Underlay, err = netip.ParseAddr(me.Address); err != nil {
		return f, fmt.Errorf("address of node %s: %w", me.Name, err)
	}
	for _, id := range slices.Sorted(maps.Keys(d.Nodes)) {
		if id == self {
			continue
		}
		peer, err := netip.ParseAddr(d.Nodes[id].Address)
		if err != nil {
			return f, fmt.Errorf("address of node %s: %w", d.Nodes[id].Name, err)
		}
		f.Peers = append(f.Peers, peer)
	}
	return f, nil
}

// named is what a holder was told: one that is another process by now has to be told again.
type named struct {
	netns string
	names map[string]netip.Addr
}

// tellNames makes the name of every application known in every application that is on this node, with its IPv4 address alone.
// Resolvers put an IPv6 address first where there is one: an application that listens on IPv4 only, as many do, would refuse
// every client that does not try the next address, and an IPv4 address is there on every node.
func (a *Agent) tellNames(ctx context.Context, d cluster.Desired) {
	names := map[string]netip.Addr{}
	for name, app := range d.Applications {
		if addr, err := netip.ParseAddr(app.Address); err == nil && !app.Deleted {
			names[name] = addr
		}
	}
	a.mu.Lock()
	places := maps.Clone(a.places)
	a.mu.Unlock()
	maps.DeleteFunc(a.names, func(app string, _ named) bool { return places[app] == "" })
	for app, netns := range places {
		if told := a.names[app]; told.netns == netns && maps.Equal(told.names, names) {
			continue
		}
		err := a.Engine.SetHosts(ctx, app, names)
		if errors.Is(err, container.ErrNotFound) {
			continue // it has just gone
		}
		if err != nil {
			a.Log.Warn("names of applications are not known in one", "application", app, "error", err)
			continue
		}
		a.names[app] = named{netns, names}
	}
}
