// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/flocker-project/flocker/network"
)

const (
	holdLimit = 20 * time.Second
	// inTime is how long after the gap the last of those who waited is served on a busy machine; a lost packet would take a second.
	inTime = 200 * time.Millisecond
)

func (m *machine) hold(t *testing.T, addr netip.Addr, limit time.Duration) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Hold(ctx, addr, limit) }))
}

// filterBridged says whether the nodes let iptables see bridged frames, as Kubernetes and some settings of Docker have it.
func (c *machines) filterBridged(t *testing.T, on string) {
	t.Helper()
	for _, m := range c.nodes {
		must(t, within(t, m.ns, func() error { return bridgeFilters(on) }))
	}
}

// holding is, in one family, an application on the first node, its holder on the second, and those who ask it.
type holding struct {
	*machines
	family
	address        netip.Addr
	source, target *machine
	from, to       netns.NsHandle
	serving        net.Listener
	askers         []asker
}

func newHolding(t *testing.T, f family) *holding {
	t.Helper()
	h := &holding{family: f, machines: newCluster(t, 3), address: application(1)}
	h.source, h.target = h.nodes[0], h.nodes[1]
	for _, m := range h.nodes {
		// A wire has a pace. Without one all that waited would be in the kernel's queue between namespaces at once, which has 1,000 places
		// for the whole machine.
		must(t, within(t, m.ns, func() error { return commands("tc qdisc add dev eth0 root tbf rate 30mbit burst 8k limit 64m") }))
	}
	h.from, h.to = h.source.holder(t, h.address), h.target.holder(t, h.address)
	h.serving = answering(t, h.from, 's')
	h.source.live(t, h.address)
	for _, m := range h.nodes {
		udp := publication(h.address, 7001)
		udp.Protocol = "udp"
		m.publish(t, publication(h.address, 7001), udp)
	}
	h.askers = h.machines.askers(t, f, h.address, 7001)
	return h
}

// connect opens a connection from everywhere.
func (h *holding) connect(t *testing.T) []net.Conn {
	t.Helper()
	var all []net.Conn
	for _, a := range h.askers {
		connection, err := dial(short(t), t, a.from, a.to)
		must(t, err)
		t.Cleanup(func() { connection.Close() })
		must(t, exchange(short(t), connection))
		all = append(all, connection)
	}
	return all
}

// New connections wait for the whole of a move and are then served by the target; established ones go on until the application ends them.
func TestHoldCarriesNewConnectionsOverAMove(t *testing.T) {
	inEachFamily(t, holdCarriesNewConnectionsOverAMove)
}

func holdCarriesNewConnectionsOverAMove(t *testing.T, f family) {
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridged frames filtered "+bridged, func(t *testing.T) {
			h := newHolding(t, f)
			h.filterBridged(t, bridged)
			established := h.connect(t)
			load := attempt(t, h.askers, 1000)
			pass(t, 200*time.Millisecond)
			start := time.Now()
			h.source.hold(t, h.address, holdLimit)
			held := time.Now()
			// Neither who sends to the application nor the application itself may stop to find the other.
			must(t, within(t, h.nodes[2].ns, func() error { return commands("ip neigh flush dev " + clusterBridge) }))
			must(t, within(t, h.from, func() error { return commands("ip neigh flush dev eth0") }))
			for range 10 {
				for i, connection := range established {
					if err := exchange(short(t), connection); err != nil {
						t.Fatalf("%s: an established connection gets %v in the hold", h.askers[i].name, err)
					}
				}
				pass(t, 10*time.Millisecond)
			}
			for _, connection := range established {
				connection.Close()
			}
			h.serving.Close()
			stopped := time.Now()
			h.source.deaden(t, h.address)
			dead := time.Since(stopped)
			pass(t, 300*time.Millisecond)
			answering(t, h.to, 't')
			ready := time.Now()
			h.target.enliven(t, h.address)
			gap := time.Since(start)
			t.Logf("Hold %v, Deaden %v, Enliven %v, gap %v", held.Sub(start), dead, time.Since(ready), gap)
			pass(t, 300*time.Millisecond)
			checkTries(t, load.end(), start, held, gap)
			pass(t, time.Second)
			if out := output(t, h.source.ns, "nft list set bridge flocker held"); strings.Contains(out, "elements") {
				t.Errorf("the source still holds, the application is elsewhere:\n%s", out)
			}
		})
	}
}

// checkTries wants that nobody was refused, and that nobody waited longer than it took.
func checkTries(t *testing.T, tries []try, start, held time.Time, gap time.Duration) {
	t.Helper()
	var longest time.Duration
	waited, late := 0, map[string]int{}
	for _, one := range tries {
		switch {
		case one.err != nil:
			t.Errorf("%s: begun %v after Hold: %v", one.name, one.began.Sub(start), one.err)
		case one.began.Before(start.Add(-20*time.Millisecond)) && one.word != 's' || one.began.After(held) && one.word != 't':
			t.Errorf("%s: begun %v after Hold, served by %c", one.name, one.began.Sub(start), one.word)
		}
		if one.took > gap+inTime {
			t.Logf("%s: begun %v after Hold, took %v", one.name, one.began.Sub(start), one.took)
			late[one.name]++
		}
		if one.took > 20*time.Millisecond {
			waited++
		}
		longest = max(longest, one.took)
	}
	t.Logf("%d connections, %d waited, the longest %v", len(tries), waited, longest)
	if len(late) > 0 {
		t.Errorf("the longest wait is %v in a gap of %v; later than that: %v", longest, gap, late)
	}
}

// A move that fails is over for those who wait, too.
func TestHoldOfAFailedMoveIsServedByTheSource(t *testing.T) {
	inEachFamily(t, holdOfAFailedMoveIsServedByTheSource)
}

func holdOfAFailedMoveIsServedByTheSource(t *testing.T, f family) {
	h := newHolding(t, f)
	for name, deadened := range map[string]bool{"before Deaden": false, "after Deaden": true} {
		load := attempt(t, h.askers, 500)
		start := time.Now()
		h.source.hold(t, h.address, holdLimit)
		pass(t, 100*time.Millisecond)
		if deadened {
			h.source.deaden(t, h.address)
			pass(t, 100*time.Millisecond)
		}
		h.source.network = network.NewOn(clusterBridge, slog.New(slog.DiscardHandler)) // another process, which knows what the kernel knows
		must(t, h.source.on(t, func(ctx context.Context, n *network.Network) error {
			holds, err := n.Holds(ctx)
			if !slices.Equal(holds, []netip.Addr{h.address}) {
				t.Errorf("%s: holds of %v are known to the next process; want %v", name, holds, h.address)
			}
			return err
		}))
		h.source.enliven(t, h.address)
		gap := time.Since(start)
		pass(t, 100*time.Millisecond)
		for _, one := range load.end() {
			if one.err != nil || one.word != 's' || one.took > gap+inTime {
				t.Errorf("%s: %s: %c, %v after %v in a gap of %v", name, one.name, one.word, one.err, one.took, gap)
			}
		}
		h.source.leftOver(t, h.address)
	}
}

// leftOver wants nothing of a hold on the node.
func (m *machine) leftOver(t *testing.T, address netip.Addr) {
	t.Helper()
	alias := strings.Replace(address.String(), "10.", "240.", 1)
	for _, line := range []string{
		"nft list set ip flocker going", "nft list set ip6 flocker going", "nft list set bridge flocker held",
		"ip route show table all", "ip -6 route show table all", "ip neigh",
	} {
		if out := output(t, m.ns, line); strings.Contains(out, "elements") || strings.Contains(out, alias) || strings.Contains(out, "fe80::f10c") {
			t.Errorf("%s says\n%s", line, out)
		}
	}
}

// Who held may be gone for good: the kernel refuses those who wait when it is time, and forgets the hold.
func TestHoldEndsByItself(t *testing.T) { inEachFamily(t, holdEndsByItself) }

func holdEndsByItself(t *testing.T, f family) {
	h := newHolding(t, f)
	for _, m := range h.nodes {
		must(t, within(t, m.ns, func() error {
			return os.WriteFile(f.settings()+"neigh/"+clusterBridge+"/mcast_solicit", []byte("40"), 0o644)
		}))
	}
	h.connect(t) // containers know the hardware address: they do not wait by themselves
	h.source.hold(t, h.address, 1500*time.Millisecond)
	h.source.deaden(t, h.address)
	for _, one := range attemptOnce(t, h.askers) {
		if !errors.Is(one.err, syscall.EHOSTUNREACH) || one.took < 700*time.Millisecond || one.took > 1300*time.Millisecond {
			t.Errorf("%s gets %v after %v; want no route to host after 40 times 20ms, or 24 as the kernel rounds", one.name, one.err, one.took)
		}
	}
	pass(t, time.Second)
	for _, set := range []string{"ip flocker going", "ip6 flocker going", "bridge flocker held"} {
		if out := output(t, h.source.ns, "nft list set "+set); strings.Contains(out, "elements") {
			t.Errorf("the limit has passed, but there is\n%s", out)
		}
	}
	h.source.live(t) // as an agent that begins does
	h.source.leftOver(t, h.address)
}

// A hold that is not followed by anything ends with its limit: the source serves.
func TestHoldThatIsForgottenIsServedByTheSource(t *testing.T) {
	inEachFamily(t, holdThatIsForgottenIsServedByTheSource)
}

func holdThatIsForgottenIsServedByTheSource(t *testing.T, f family) {
	h := newHolding(t, f)
	h.source.hold(t, h.address, time.Hour)
	h.source.hold(t, h.address, 300*time.Millisecond) // the later limit is the one
	start := time.Now()
	for _, one := range attemptOnce(t, h.askers) {
		if one.err != nil || one.word != 's' || one.took < 200*time.Millisecond || one.took > 600*time.Millisecond {
			t.Errorf("%s: %c, %v after %v of a hold of 300ms", one.name, one.word, one.err, one.took)
		}
	}
	t.Logf("served after %v", time.Since(start))
}

// A datagram that is sent after the application has stopped arrives.
func TestHoldKeepsDatagrams(t *testing.T) { inEachFamily(t, holdKeepsDatagrams) }

func holdKeepsDatagrams(t *testing.T, f family) {
	h := newHolding(t, f)
	h.source.hold(t, h.address, holdLimit)
	h.source.deaden(t, h.address)
	var all []net.Conn
	for _, a := range h.askers {
		var connection net.Conn
		must(t, within(t, a.from, func() (err error) {
			connection, err = new(net.Dialer).DialContext(t.Context(), "udp", a.to)
			return err
		}))
		defer connection.Close()
		_, err := connection.Write([]byte{0, 0, 0, 1})
		must(t, err)
		all = append(all, connection)
	}
	pass(t, 100*time.Millisecond)
	echoPackets(t, h.to, 7000)
	h.target.enliven(t, h.address)
	for i, connection := range all {
		must(t, connection.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
		answer := make([]byte, 10)
		if _, err := connection.Read(answer); err != nil {
			t.Errorf("%s: no answer to the datagram: %v", h.askers[i].name, err)
			continue
		}
		must(t, connection.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		if _, err := connection.Read(answer); err == nil {
			t.Errorf("%s: the datagram arrives twice", h.askers[i].name)
		}
	}
}
