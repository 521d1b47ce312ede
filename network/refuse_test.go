// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/flocker-project/flocker/network"
)

func (m *machine) refuse(t *testing.T, limit time.Duration, addrs ...netip.Addr) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Refuse(ctx, addrs, limit) }))
}

// Who asks for an application of a dead node is told at once, and whoever else is there is served.
func TestRefuseTellsAtOnce(t *testing.T) { inEachFamily(t, refuseTellsAtOnce) }

func refuseTellsAtOnce(t *testing.T, f family) {
	c := newCluster(t, 2)
	asked, gone, there := c.nodes[0], application(1), application(2)
	serve(t, c.nodes[1].holder(t, there), 7000)
	c.nodes[1].live(t, there)
	asked.publish(t, publication(gone, 7001), publication(there, 7002))
	ports := map[string]func() error{
		"from outside": func() error { return reach(short(t), t, c.client, f.at(asked.fabric.Underlay, 7001)) },
		"on the node":  func() error { return reach(short(t), t, asked.ns, f.at(f.selfOf(asked), 7001)) },
	}
	expect := func(refused bool) {
		t.Helper()
		for where, ask := range ports {
			err := ask()
			late, waits := errors.AsType[net.Error](err)
			if waits = waits && late.Timeout(); errors.Is(err, syscall.ECONNREFUSED) != refused || waits == refused {
				t.Errorf("%s: %v; want refused %v", where, err, refused)
			}
		}
		if err := reach(short(t), t, c.client, f.at(asked.fabric.Underlay, 7002)); err != nil {
			t.Errorf("an application that is there: %v", err)
		}
	}
	expect(false) // as one whose application moves
	asked.refuse(t, time.Hour, application(3))
	asked.refuse(t, time.Hour, gone)
	expect(true)
	if err := packet(short(t), t, c.client, f.at(asked.fabric.Underlay, 7001)); err == nil {
		t.Error("a datagram is answered")
	}
	asked.refuse(t, time.Hour)
	expect(false)
	asked.refuse(t, 50*time.Millisecond, gone)
	pass(t, 100*time.Millisecond) // the kernel ends it: nobody may be there to do so
	expect(false)
}

// So is a container that asks the address itself, and it finds who is back. Others' containers may find the application anyway.
func TestRefuseTellsContainersAtOnce(t *testing.T) { inEachFamily(t, refuseTellsContainersAtOnce) }

func refuseTellsContainersAtOnce(t *testing.T, f family) {
	c := newCluster(t, 2)
	asked, gone := c.nodes[0], application(1)
	near, far := asked.holder(t, application(2)), c.nodes[1].holder(t, application(3))
	asked.live(t, application(2))
	c.nodes[1].live(t, application(3))
	open := func(m *machine, inside netns.NsHandle) { // as an agent does
		t.Helper()
		must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.SetGate(ctx, path(inside), true) }))
	}
	back := c.nodes[1].holder(t, gone) // made ahead, and not heard
	open(asked, near)
	open(c.nodes[1], far)
	open(c.nodes[1], back)
	expect := func(when string, from netns.NsHandle, want bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := reach(ctx, t, from, f.at(gone, 7000)); errors.Is(err, syscall.ECONNREFUSED) != want || err == nil {
			t.Errorf("%s: %v; want refused %v", when, err, want)
		}
	}
	expect("nobody is refused", near, false)
	asked.refuse(t, time.Hour, application(4))
	expect("another is refused", near, false)
	asked.refuse(t, time.Hour, gone, application(4))
	for range 3 {
		expect("on the node", near, true)
	}
	expect("on another node", far, false)
	if known := output(t, far, "ip neigh show "+f.of(gone).String()); strings.Contains(known, "lladdr") {
		t.Errorf("another node's container is answered: %s", known)
	}
	asked.refuse(t, 50*time.Millisecond, gone)
	pass(t, 100*time.Millisecond)
	must(t, within(t, near, func() error { return commands("ip neigh flush dev eth0") })) // else the node itself lets it wait
	expect("after the limit", near, false)
	asked.refuse(t, time.Hour, gone)
	expect("again", near, true)
	serve(t, back, 7000)
	c.nodes[1].enliven(t, gone)
	asked.refuse(t, time.Hour)
	for name, from := range map[string]netns.NsHandle{"near": near, "far": far} {
		began := time.Now()
		if err := reach(short(t), t, from, f.at(gone, 7000)); err != nil || time.Since(began) > inTime {
			t.Errorf("who is back is reached from %s after %v, %v", name, time.Since(began), err)
		}
	}
	// One that was only silent for a while announces nothing: what still comes to the node is led on.
	must(t, within(t, near, func() error {
		return commands(fmt.Sprintf("ip neigh replace %s lladdr %s dev eth0 nud reachable", f.of(gone), asked.bridgeAddress(t)))
	}))
	connection, err := dial(short(t), t, near, f.at(gone, 7000))
	must(t, err)
	defer connection.Close()
	for range 10 {
		must(t, exchange(short(t), connection))
	}
	must(t, asked.on(t, func(ctx context.Context, n *network.Network) error { return n.Remove(ctx) }))
}

// bridgeAddress is the hardware address of the node in the cluster network.
func (m *machine) bridgeAddress(t *testing.T) (mac net.HardwareAddr) {
	t.Helper()
	must(t, within(t, m.ns, func() error {
		bridge, err := netlink.LinkByName(clusterBridge)
		if err == nil {
			mac = bridge.Attrs().HardwareAddr
		}
		return err
	}))
	return mac
}

func TestSilentAreThoseWhoDoNotAnswer(t *testing.T) {
	c := newCluster(t, 2)
	silent, near, far := application(1), application(2), application(3)
	for node, addr := range map[int]netip.Addr{0: near, 1: far} {
		c.nodes[node].holder(t, addr)
		c.nodes[node].live(t, addr)
	}
	c.nodes[1].holder(t, silent) // made ahead, and not heard
	must(t, c.nodes[0].on(t, func(ctx context.Context, n *network.Network) error {
		found, err := n.Silent(ctx, []netip.Addr{silent, near, far}, 300*time.Millisecond)
		if err != nil || !slices.Equal(found, []netip.Addr{silent}) {
			t.Errorf("Silent() = %v, %v; want %v", found, err, silent)
		}
		return nil
	}))
}
