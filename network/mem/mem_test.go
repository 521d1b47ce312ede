// SPDX-License-Identifier: Apache-2.0

package mem_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/network/mem"
	"github.com/flocker-project/flocker/network/networktest"
)

func TestContract(t *testing.T) {
	networktest.Run(t, func(*testing.T) networktest.Subject {
		const namespace, port = "mem/1", 7000
		n := mem.New(mem.Config{Dial: func(asked string, number int) error {
			if asked != namespace || number != port {
				return mem.ErrRefused
			}
			return nil
		}})
		return networktest.Subject{
			Gates: n, Ports: n, Namespace: namespace, Address: "10.99.0.2", Port: port,
			Reach: func(_ context.Context, port int) error {
				if _, led := n.Leads(network.Port{Protocol: "tcp", Number: port}); !led || !n.Gate(namespace) {
					return mem.ErrRefused
				}
				return nil
			},
		}
	})
}

func TestClusterContract(t *testing.T) {
	networktest.RunCluster(t, func(*testing.T) networktest.Cluster {
		const namespace, port = "mem/1", 7000
		address := netip.MustParseAddr("10.144.1.1")
		c := networktest.Cluster{Address: address, Port: port}
		var nodes []*mem.Network
		underlays := []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")}
		for i, own := range underlays {
			n := mem.New(mem.Config{})
			nodes = append(nodes, n)
			c.Nodes = append(c.Nodes, networktest.ClusterNode{
				Member: n, Publish: n.Publish,
				Fabric: network.Fabric{
					Subnet: netip.MustParsePrefix("10.144.0.0/16"), Service: netip.MustParseAddr("10.144.0.1"), Key: 7,
					Address: netip.AddrFrom4([4]byte{10, 144, 0, byte(2 + i)}), Underlay: own, Peers: underlays,
				},
				SetGate: func(ctx context.Context, open bool) error { return n.SetGate(ctx, namespace, open) },
			})
		}
		c.Ask = func(_ context.Context, node, port int) (int, error) {
			led, leads := nodes[node].Leads(network.Port{Protocol: "tcp", Number: port})
			for i, n := range nodes {
				if leads && led.Address == address.String() && nodes[node].Hears(n) && n.Heard(address, namespace) {
					return i, nil
				}
			}
			return 0, mem.ErrRefused
		}
		return c
	})
}

func TestNodesThatAreNoPeersDoNotHearEachOther(t *testing.T) {
	one, other := mem.New(mem.Config{}), mem.New(mem.Config{})
	f := network.Fabric{
		Subnet: netip.MustParsePrefix("10.144.0.0/16"), Service: netip.MustParseAddr("10.144.0.1"), Key: 7, Address: netip.MustParseAddr("10.144.0.2"),
		Underlay: netip.MustParseAddr("10.9.0.1"),
	}
	g := f
	g.Underlay, g.Peers = netip.MustParseAddr("10.9.0.2"), []netip.Addr{f.Underlay}
	if err := errors.Join(one.Join(t.Context(), f), other.Join(t.Context(), g)); err != nil {
		t.Fatal(err)
	}
	if one.Hears(other) || other.Hears(one) {
		t.Error("nodes hear each other although one does not know the other")
	}
	f.Peers = []netip.Addr{g.Underlay}
	if err := one.Join(t.Context(), f); err != nil || !one.Hears(other) || !other.Hears(one) {
		t.Errorf("peers do not hear each other, %v", err)
	}
}
