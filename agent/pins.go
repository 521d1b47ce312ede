// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"net/netip"

	"github.com/flocker-project/flocker/cluster"
)

// pins fixes the places of applications that were taken over from nodes that may go on speaking for them. It is the loop's alone.
type pins struct {
	agent *Agent
	stand map[netip.Addr]netip.Addr // nil where it is not known
}

// settle makes them what the control service says. While there are some they are made anew each time: a move, or a node that joins again,
// takes them away in the kernel.
func (p *pins) settle(ctx context.Context, d cluster.Desired) error {
	want, err := p.of(d)
	if err != nil || p.stand != nil && len(want) == 0 && maps.Equal(want, p.stand) {
		return err
	}
	p.stand = nil
	if err := p.agent.Network.Pin(ctx, want); err != nil {
		return err
	}
	p.stand = want
	return nil
}

// of are the places that are fixed: not while the application moves, since its place then changes before every node has read so.
func (p *pins) of(d cluster.Desired) (map[netip.Addr]netip.Addr, error) {
	want := map[netip.Addr]netip.Addr{}
	for name, a := range d.Applications {
		if len(a.Former) == 0 || a.Move != "" || a.Deleted || a.Address == "" {
			continue
		}
		addr, err := netip.ParseAddr(a.Address)
		if err != nil {
			return nil, fmt.Errorf("address of application %s: %w", name, err)
		}
		var at netip.Addr
		if a.Node != p.agent.Node {
			if at, err = netip.ParseAddr(d.Nodes[a.Node].Address); err != nil {
				return nil, fmt.Errorf("application %s: address of node %s: %w", name, d.Nodes[a.Node].Name, err)
			}
		}
		want[addr] = at
	}
	return want, nil
}
