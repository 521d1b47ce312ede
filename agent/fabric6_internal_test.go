// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/network"
)

func TestAFabricHasIPv6WhereClusterAndHostHaveIt(t *testing.T) {
	const subnet6 = "fd00:7::/64"
	for what, c := range map[string]struct {
		subnet6 string
		host    bool
		want    string
	}{
		"both":             {subnet6, true, subnet6},
		"the cluster only": {subnet6, false, "invalid Prefix"},
		"the host only":    {"", true, "invalid Prefix"},
	} {
		d := desiredFabric(c.subnet6)
		if f, err := fabricOf(d, "a", c.host); err != nil || f.Subnet6.String() != c.want {
			t.Errorf("%s: %+v, %v; want %s", what, f, err, c.want)
		}
	}
	if _, err := fabricOf(desiredFabric("fd00::/48"), "a", true); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a subnet that is none: %v", err)
	}
}

func desiredFabric(subnet6 string) cluster.Desired {
	d := cluster.NewDesired()
	d.Complete, d.Fabric = true, cluster.Fabric{Subnet: "10.9.0.0/16", Subnet6: subnet6}
	d.Nodes["a"] = cluster.Node{ID: "a", Name: "alpha", Address: "192.0.2.1", ClusterAddress: "10.9.0.2"}
	return d
}

// joiner is a runtime that has its network with IPv6, or without, or takes either.
type joiner struct {
	container.Engine
	refuses map[bool]error // by whether IPv6 is asked for
	joins   []container.NetworkConfig
}

func (e *joiner) Join(_ context.Context, c container.NetworkConfig) error {
	e.joins = append(e.joins, c)
	return e.refuses[c.Subnet6.IsValid()]
}

// member is the part of the kernel that is joined.
type member struct {
	Network
	joined []network.Fabric
}

func (n *member) Join(_ context.Context, f network.Fabric) error {
	n.joined = append(n.joined, f)
	return nil
}

// A node whose runtime keeps its network with other IPv6 settings is a member all the same, without IPv6.
func TestIPv6DoesNotKeepANodeFromTheClusterNetwork(t *testing.T) {
	busy := errors.New("in use")
	for what, c := range map[string]struct {
		host    bool
		refuses map[bool]error
		joins   int
		ipv6    bool // of the kernel's part
		fails   bool
	}{
		"host and runtime have it":                {true, nil, 1, true, false},
		"neither has it":                          {false, nil, 1, false, false},
		"the runtime's network has none":          {true, map[bool]error{true: busy}, 2, false, false},
		"the runtime's network has it, host lost": {false, map[bool]error{false: busy}, 2, false, false},
		"the runtime is away":                     {true, map[bool]error{true: busy, false: errors.New("away")}, 2, false, true},
	} {
		engine, kernel := &joiner{refuses: c.refuses}, &member{}
		ipv6 := func() error {
			if c.host {
				return nil
			}
			return errors.New("the host has none")
		}
		a := &Agent{
			Config: Config{Node: "a", Engine: engine, Network: kernel, IPv6: ipv6, Log: slog.New(slog.DiscardHandler)},
			member: make(chan struct{}),
		}
		for range 2 { // once joined, it is not asked again
			err := a.join(t.Context(), desiredFabric("fd00:7::/64"))
			if (err != nil) != c.fails || c.fails && !errors.Is(err, busy) {
				t.Errorf("%s: join() = %v", what, err)
			}
			if c.fails {
				break
			}
		}
		if len(engine.joins) != c.joins {
			t.Errorf("%s: the runtime was asked for %v", what, engine.joins)
		}
		if c.fails {
			continue
		}
		want := netip.Prefix{}
		if c.ipv6 {
			want = netip.MustParsePrefix("fd00:7::/64")
		}
		if len(kernel.joined) != 1 || kernel.joined[0].Subnet6 != want {
			t.Errorf("%s: the kernel joined %+v", what, kernel.joined)
		}
	}
}
