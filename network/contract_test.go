// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/network/networktest"
)

// inPlace calls a node's Network in the node's namespace.
type inPlace struct {
	t *testing.T
	m *machine
}

func (p inPlace) call(f func(ctx context.Context, n *network.Network) error) error {
	return p.m.on(p.t, f)
}

func (p inPlace) Join(_ context.Context, fabric network.Fabric) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Join(ctx, fabric) })
}

func (p inPlace) Leave(context.Context) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Leave(ctx) })
}

func (p inPlace) Live(_ context.Context, addrs []netip.Addr) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Live(ctx, addrs) })
}

func (p inPlace) Enliven(_ context.Context, addr netip.Addr) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Enliven(ctx, addr) })
}

func (p inPlace) Deaden(_ context.Context, addr netip.Addr) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Deaden(ctx, addr) })
}

func (p inPlace) Lives(context.Context) (all []netip.Addr, err error) {
	err = p.call(func(ctx context.Context, n *network.Network) (err error) {
		all, err = n.Lives(ctx)
		return err
	})
	return all, err
}

func (p inPlace) Confine(_ context.Context, addrs []netip.Addr) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Confine(ctx, addrs) })
}

func (p inPlace) Confined(context.Context) (all []netip.Addr, err error) {
	err = p.call(func(ctx context.Context, n *network.Network) (err error) {
		all, err = n.Confined(ctx)
		return err
	})
	return all, err
}

func (p inPlace) Ask(_ context.Context, limit time.Duration) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Ask(ctx, limit) })
}

func (p inPlace) Allow(_ context.Context, addrs []netip.Addr, limit time.Duration) error {
	return p.call(func(ctx context.Context, n *network.Network) error { return n.Allow(ctx, addrs, limit) })
}

func TestClusterContract(t *testing.T) {
	networktest.RunCluster(t, func(t *testing.T) networktest.Cluster {
		c := newMachines(t, 2)
		address := application(1)
		subject := networktest.Cluster{
			Address: address, Port: 7000,
			Ask: func(ctx context.Context, node, port int) (by int, err error) {
				said, err := ask(ctx, t, c.client, fmt.Sprintf("%s:%d", c.nodes[node].fabric.Underlay, port))
				if err != nil {
					return 0, err
				}
				_, err = fmt.Sscanf(said, "node%d", &by)
				return by, err
			},
		}
		for i, m := range c.nodes {
			inside := m.holder(t, address)
			greet(t, inside, ":7000", fmt.Sprintf("node%d", i))
			in := inPlace{t, m}
			subject.Nodes = append(subject.Nodes, networktest.ClusterNode{
				Member: in, Fabric: m.fabric,
				SetGate: func(_ context.Context, open bool) error {
					return in.call(func(ctx context.Context, n *network.Network) error { return n.SetGate(ctx, path(inside), open) })
				},
				Publish: func(_ context.Context, all []network.Publication) error {
					return in.call(func(ctx context.Context, n *network.Network) error { return n.Publish(ctx, all) })
				},
			})
		}
		return subject
	})
}
