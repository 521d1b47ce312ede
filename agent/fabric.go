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
	fabric, err := fabricOf(d, a.Node)
	if err != nil {
		return fmt.Errorf("join the cluster network: %w", err)
	}
	if reflect.DeepEqual(fabric, a.joined) {
		return nil
	}
	runtime := container.NetworkConfig{Subnet: fabric.Subnet, Gateway: fabric.Address}
	if err := a.Engine.Join(ctx, runtime); err != nil {
		return err
	}
	if err := a.Network.Join(ctx, fabric); err != nil {
		return err
	}
	a.joined = fabric
	select {
	case <-a.member:
	default:
		close(a.member)
	}
	return nil
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

// fabricOf is the cluster network as a node has it.
func fabricOf(d cluster.Desired, self cluster.NodeID) (network.Fabric, error) {
	f := network.Fabric{Service: d.Fabric.Service(), Key: fabricKey}
	var err error
	if f.Subnet, err = cluster.ParseSubnet(d.Fabric.Subnet); err != nil {
		return f, err
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

// tellNames makes the name of every application known in every application that is on this node.
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
