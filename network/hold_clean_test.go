// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/network"
)

func TestHoldDoesNotDisturbOthers(t *testing.T) {
	goFirst(t)
	h := newHolding(t, four)
	other := application(2)
	serve(t, h.source.holder(t, other), 7000)
	h.source.live(t, h.address, other, application(100))
	h.source.publish(t, publication(h.address, 7001), publication(other, 7002))
	connection, err := dial(short(t), t, h.client, fmt.Sprintf("%s:7002", h.source.fabric.Underlay))
	must(t, err)
	s := startStream(connection)
	for range 10 {
		h.source.hold(t, h.address, holdLimit)
		h.source.deaden(t, h.address)
		if err := reach(short(t), t, h.client, fmt.Sprintf("%s:7002", h.source.fabric.Underlay)); err != nil {
			t.Errorf("a new connection to another application: %v", err)
		}
		h.target.enliven(t, h.address)
		h.target.deaden(t, h.address)
		h.source.enliven(t, h.address)
	}
	bytes, longest, err := s.end()
	t.Logf("%d bytes, the longest wait %v", bytes, longest)
	if err != nil || bytes == 0 || longest > 50*time.Millisecond {
		t.Errorf("a stream to another application: %d bytes, longest wait %v, %v", bytes, longest, err)
	}
}

func TestRemoveLeavesNothingOfAHold(t *testing.T) {
	h := newHolding(t, four)
	h.source.hold(t, h.address, holdLimit)
	must(t, h.source.on(t, func(ctx context.Context, n *network.Network) error { return n.Remove(ctx) }))
	for line, what := range map[string]string{
		"nft list ruleset": "table bridge flocker", "ip rule": "5358", "ip route show table all": "5358", "ip neigh": "240.",
		"nft list tables": "flocker", "ip -6 rule": "5358", "ip -6 route show table all": "5358", "ip -6 neigh": "fe80::f10c",
	} {
		if out := output(t, h.source.ns, line); strings.Contains(out, what) {
			t.Errorf("%s is left:\n%s", what, out)
		}
	}
}

func TestHoldNeedsAMemberAndALimit(t *testing.T) {
	c := newMachines(t, 1)
	must(t, c.nodes[0].on(t, func(ctx context.Context, n *network.Network) error {
		if err := n.Hold(ctx, application(1), holdLimit); err == nil || !strings.Contains(err.Error(), "not joined") {
			t.Errorf("Hold() before Join() = %v; want that it says so", err)
		}
		if err := n.Hold(ctx, application(1), 0); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("Hold() without a limit = %v; want that it says so", err)
		}
		if err := n.Hold(ctx, netip.IPv6Loopback(), holdLimit); err == nil || !strings.Contains(err.Error(), "IPv4") {
			t.Errorf("Hold() of an IPv6 address = %v; want that it says so", err)
		}
		return nil
	}))
}

// An application that asks another waits by itself while nobody answers for that one.
func TestGateLetsContainersWait(t *testing.T) {
	c := newCluster(t, 1)
	inside := c.nodes[0].holder(t, application(1))
	must(t, c.nodes[0].on(t, func(ctx context.Context, n *network.Network) error { return n.SetGate(ctx, path(inside), true) }))
	out := output(t, inside, "ip ntable show dev eth0 name arp_cache")
	for _, want := range []string{"mcast_probes 1500", "retrans 20"} {
		if !strings.Contains(out, want) {
			t.Errorf("its table of neighbours is\n%s\nwant %q", out, want)
		}
	}
	if out := output(t, inside, "cat /proc/sys/net/ipv4/neigh/eth0/unres_qlen_bytes"); strings.TrimSpace(out) != "1048576" {
		t.Errorf("of what waits there is place for %s bytes; want 1048576", out)
	}
	if out := output(t, inside, "ip ntable show dev eth0 name ndisc_cache"); !strings.Contains(out, "mcast_probes 1500") {
		t.Errorf("its table of IPv6 neighbours is\n%s\nwant 30 tries", out)
	}
}

// In the hold the application must find those it answers, while the node itself must not find the application.
func TestHoldLetsTheApplicationAsk(t *testing.T) { inEachFamily(t, holdLetsTheApplicationAsk) }

func holdLetsTheApplicationAsk(t *testing.T, f family) {
	h := newHolding(t, f)
	established := h.connect(t)
	must(t, within(t, h.nodes[0].ns, func() error { return commands("ip neigh flush dev " + clusterBridge) }))
	h.source.hold(t, h.address, holdLimit)
	must(t, within(t, h.from, func() error { return commands("ip neigh flush dev eth0") }))
	for i, connection := range established {
		if err := exchange(short(t), connection); err != nil {
			t.Errorf("%s: an established connection gets %v", h.askers[i].name, err)
		}
	}
	if out := output(t, h.source.ns, "ip neigh show "+f.of(h.address).String()); strings.Contains(out, "lladdr") {
		t.Errorf("the source knows the hardware address in the hold: %s", out)
	}
}

// A node that held a moment ago is no hindrance to what comes next, wherever the application goes.
func TestHoldAgainAndElsewhere(t *testing.T) { inEachFamily(t, holdAgainAndElsewhere) }

func holdAgainAndElsewhere(t *testing.T, f family) {
	h := newHolding(t, f)
	answering(t, h.to, 't')
	answering(t, h.nodes[2].holder(t, h.address), 'u')
	at := 0
	for _, next := range []int{1, 0, 1, 2, 0} {
		h.nodes[at].hold(t, h.address, holdLimit)
		h.nodes[at].deaden(t, h.address)
		h.nodes[next].enliven(t, h.address)
		at = next
		for _, one := range attemptOnce(t, h.askers) {
			if one.err != nil || one.word != "stu"[at] || one.took > inTime {
				t.Errorf("on node %d: %s: %c, %v after %v", at+1, one.name, one.word, one.err, one.took)
			}
		}
	}
}

// An agent that is not sure holds again: who waits already goes on waiting.
func TestHoldAgainRefusesNobody(t *testing.T) { inEachFamily(t, holdAgainRefusesNobody) }

func holdAgainRefusesNobody(t *testing.T, f family) {
	h := newHolding(t, f)
	load := attempt(t, h.askers, 200)
	start := time.Now()
	h.source.hold(t, h.address, holdLimit)
	held := time.Now()
	for range 3 {
		pass(t, 50*time.Millisecond)
		h.source.hold(t, h.address, holdLimit)
	}
	h.source.deaden(t, h.address)
	h.source.hold(t, h.address, holdLimit)
	answering(t, h.to, 't')
	h.target.enliven(t, h.address)
	checkTries(t, load.end(), start, held, time.Since(start))
}
