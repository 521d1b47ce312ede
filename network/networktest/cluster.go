// SPDX-License-Identifier: Apache-2.0

package networktest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/flocker-project/flocker/network"
)

// Member is the part of a network that concerns the cluster.
type Member interface {
	Join(ctx context.Context, f network.Fabric) error
	Leave(ctx context.Context) error
	Hearing
}

// Hearing decides who is heard from a node.
type Hearing interface {
	Live(ctx context.Context, addrs []netip.Addr) error
	Enliven(ctx context.Context, addr netip.Addr) error
	Deaden(ctx context.Context, addr netip.Addr) error
	Lives(ctx context.Context) ([]netip.Addr, error)
	Confinement
}

// ClusterNode is a node under test, with a holder of the application's address whose gate is open.
type ClusterNode struct {
	Member
	Fabric  network.Fabric
	SetGate func(ctx context.Context, open bool) error
	Publish func(ctx context.Context, all []network.Publication) error
}

// Cluster is two nodes that have not joined.
type Cluster struct {
	Nodes   []ClusterNode
	Address netip.Addr
	Port    int // at which the application listens in both holders
	// Ask connects to a TCP port of a node from elsewhere, and says on which node the application is that answers.
	Ask func(ctx context.Context, node, port int) (by int, err error)
}

// RunCluster checks every promise with a cluster of its own.
func RunCluster(t *testing.T, open func(t *testing.T) Cluster) {
	promises := map[string]func(t *testing.T, c Cluster){
		"nobody is heard who is not live": nobodyHeard,
		"a move is known everywhere":      moveIsKnown,
		"live is exact":                   liveIsExact,
		"changes again are success":       changesAgain,
		"a closed gate lets none":         closedGateOfLive,
		"bad addresses":                   badAddresses,
		"leave ends everything":           leaveEnds,
		"the confined need a word":        confinedNeedWord,
		"a word ends by itself":           wordEnds,
		"a late answer lets nobody":       lateAnswer,
		"who is not confined needs none":  othersNeedNone,
	}
	for name, promise := range promises {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			for _, n := range c.Nodes {
				if err := n.Enliven(t.Context(), c.Address); err == nil {
					t.Error("Enliven() before Join() = nil; want an error")
				}
				bad := n.Fabric
				bad.Key = 0
				if err := n.Join(t.Context(), bad); err == nil {
					t.Error("Join() of a bad fabric = nil; want an error")
				}
				all := []network.Publication{{Application: "app", Protocol: "tcp", External: 7001, Address: c.Address.String(), Internal: c.Port}}
				if err := errors.Join(n.Join(t.Context(), n.Fabric), n.Publish(t.Context(), all)); err != nil {
					t.Fatal(err)
				}
			}
			promise(t, c)
		})
	}
}

// answered checks which node's application answers, through each node; -1 is none.
func (c Cluster) answered(t *testing.T, want int) {
	t.Helper()
	for i := range c.Nodes {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		by, err := c.Ask(ctx, i, 7001)
		cancel()
		if err != nil {
			by = -1
		}
		if by != want {
			t.Errorf("through node %d the application of node %d answers, %v; want %d", i, by, err, want)
		}
	}
}

func (c Cluster) lives(t *testing.T, node int, want ...netip.Addr) {
	t.Helper()
	if all, err := c.Nodes[node].Lives(t.Context()); err != nil || !slices.Equal(all, want) {
		t.Errorf("Lives() of node %d = %v, %v; want %v", node, all, err, want)
	}
}

func nobodyHeard(t *testing.T, c Cluster) {
	c.answered(t, -1)
	c.lives(t, 0)
}

func moveIsKnown(t *testing.T, c Cluster) {
	from, to := 0, 1
	if err := c.Nodes[from].Enliven(t.Context(), c.Address); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.answered(t, from)
		if err := errors.Join(c.Nodes[from].Deaden(t.Context(), c.Address), c.Nodes[to].Enliven(t.Context(), c.Address)); err != nil {
			t.Fatal(err)
		}
		c.lives(t, from)
		c.lives(t, to, c.Address)
		from, to = to, from
	}
}

func liveIsExact(t *testing.T, c Cluster) {
	n := c.Nodes[0]
	other := c.Address.Next()
	for _, want := range [][]netip.Addr{{c.Address, other}, {other}, {c.Address}, nil} {
		if err := n.Live(t.Context(), want); err != nil {
			t.Fatalf("Live(%v) = %v", want, err)
		}
		c.lives(t, 0, want...)
		by := -1
		if slices.Contains(want, c.Address) {
			by = 0
		}
		c.answered(t, by)
	}
}

func changesAgain(t *testing.T, c Cluster) {
	n := c.Nodes[0]
	ctx := t.Context()
	err := errors.Join(n.Deaden(ctx, c.Address), n.Enliven(ctx, c.Address), n.Enliven(ctx, c.Address), n.Join(ctx, n.Fabric),
		n.Live(ctx, []netip.Addr{c.Address}))
	if err != nil {
		t.Error(err)
	}
	c.answered(t, 0)
}

func closedGateOfLive(t *testing.T, c Cluster) {
	n := c.Nodes[0]
	if err := n.Live(t.Context(), []netip.Addr{c.Address}); err != nil {
		t.Fatal(err)
	}
	for _, open := range []bool{false, true} {
		if err := n.SetGate(t.Context(), open); err != nil {
			t.Fatal(err)
		}
		by := -1
		if open {
			by = 0
		}
		c.answered(t, by)
	}
}

func badAddresses(t *testing.T, c Cluster) {
	for _, bad := range []netip.Addr{{}, netip.IPv6Loopback()} {
		n := c.Nodes[0]
		if n.Enliven(t.Context(), bad) == nil || n.Deaden(t.Context(), bad) == nil || n.Live(t.Context(), []netip.Addr{bad}) == nil {
			t.Errorf("address %q is not refused", bad)
		}
	}
}

func leaveEnds(t *testing.T, c Cluster) {
	for i, n := range c.Nodes {
		if err := errors.Join(n.Enliven(t.Context(), c.Address), n.Leave(t.Context()), n.Leave(t.Context())); err != nil {
			t.Fatal(err)
		}
		c.lives(t, i)
	}
	c.answered(t, -1)
}
