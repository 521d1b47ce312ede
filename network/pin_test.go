// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/flocker-project/flocker/network"
)

func (m *machine) pin(t *testing.T, places map[netip.Addr]netip.Addr) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Pin(ctx, places) }))
}

// speak has a container say something that every node hears.
func speak(t *testing.T, inside netns.NsHandle) {
	t.Helper()
	must(t, within(t, inside, func() error {
		connection, err := new(net.Dialer).DialContext(t.Context(), "udp", "10.144.255.255:9")
		if err != nil {
			return err
		}
		defer connection.Close()
		_, err = connection.Write([]byte("here"))
		return err
	}))
}

// A node that is frozen, or cut off from the control service alone, lets its applications be heard as before; its kernel answers for them.
func TestFormerNodeSpeaksInVain(t *testing.T) {
	c := newCluster(t, 3)
	former, owner, third := c.nodes[0], c.nodes[1], c.nodes[2]
	address, ghost := application(1), netns.None()
	for _, m := range []*machine{former, owner} {
		inside := m.holder(t, address)
		greet(t, inside, ":7000", m.fabric.Underlay.String())
		if m == former {
			ghost = inside
		}
		m.enliven(t, address)
	}
	for _, m := range c.nodes {
		m.publish(t, publication(address, 7001))
	}
	answered := func(by *machine, through ...*machine) {
		t.Helper()
		for _, asked := range through {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			said, err := ask(ctx, t, c.client, fmt.Sprintf("%s:7001", asked.fabric.Underlay))
			cancel()
			if err != nil || said != by.fabric.Underlay.String() {
				t.Fatalf("through node %s answers %q, %v; want %s", asked.fabric.Underlay, said, err, by.fabric.Underlay)
			}
		}
	}
	speak(t, ghost)
	answered(former, third) // so it is without more
	owner.pin(t, map[netip.Addr]netip.Addr{address: {}})
	third.pin(t, map[netip.Addr]netip.Addr{address: owner.fabric.Underlay})
	for range 20 {
		speak(t, ghost)
		answered(owner, owner, third)
	}
	must(t, owner.join(t)) // it keeps what is fixed
	must(t, third.join(t))
	speak(t, ghost)
	answered(owner, owner, third)
	owner.pin(t, nil)
	third.pin(t, nil)
	speak(t, ghost)
	answered(former, third)
}

func TestPinNeedsAMember(t *testing.T) {
	m := newMachines(t, 1).nodes[0]
	err := m.on(t, func(ctx context.Context, n *network.Network) error {
		if err := n.Pin(ctx, nil); err != nil {
			t.Errorf("Pin() of nobody = %v", err)
		}
		return n.Pin(ctx, map[netip.Addr]netip.Addr{application(1): {}})
	})
	if err == nil {
		t.Error("Pin() before Join() = nil; want an error")
	}
}
