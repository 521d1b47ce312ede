// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

// fixed notes which places were fixed last, and how often.
type fixed struct {
	Network
	times  int
	places map[netip.Addr]netip.Addr
	fails  error
}

func (f *fixed) Pin(_ context.Context, places map[netip.Addr]netip.Addr) error {
	f.times++
	f.places = places
	return f.fails
}

func TestPlacesAreFixedUntilFormerNodesHaveGivenUp(t *testing.T) {
	kernel := &fixed{}
	p := pins{agent: &Agent{Config: Config{Node: "a", Network: kernel}}}
	d := cluster.NewDesired()
	for id, address := range map[cluster.NodeID]string{"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"} {
		d.Nodes[id] = cluster.Node{ID: id, Address: address}
	}
	here := cluster.Application{Name: "here", Node: "a", Address: "10.144.0.8", Former: []cluster.NodeID{"c"}}
	there := cluster.Application{Name: "there", Node: "b", Address: "10.144.0.9", Former: []cluster.NodeID{"a", "c"}}
	one, other := netip.MustParseAddr(here.Address), netip.MustParseAddr(there.Address)
	settled := func(times int, want map[netip.Addr]netip.Addr, apps ...cluster.Application) {
		t.Helper()
		clear(d.Applications)
		d.Applications["other"] = cluster.Application{Name: "other", Node: "b", Address: "10.144.0.7"}
		for _, a := range apps {
			d.Applications[a.Name] = a
		}
		kernel.times = 0
		if err := p.settle(t.Context(), d); !errors.Is(err, kernel.fails) {
			t.Errorf("settle() = %v, want %v", err, kernel.fails)
		}
		if kernel.times != times || !maps.Equal(kernel.places, want) {
			t.Errorf("fixed %d times, now %v; want %d times, %v", kernel.times, kernel.places, times, want)
		}
	}
	none := map[netip.Addr]netip.Addr{}
	settled(1, none) // what an earlier process fixed
	settled(0, none)
	both := map[netip.Addr]netip.Addr{one: {}, other: netip.MustParseAddr("10.9.0.2")}
	settled(1, both, here, there)
	settled(1, both, here, there)
	moving := there
	moving.Move = "m"
	settled(1, map[netip.Addr]netip.Addr{one: {}}, here, moving)
	kernel.fails = errors.New("the kernel's")
	settled(1, none)
	kernel.fails = nil
	settled(1, none)
	settled(0, none)
}
