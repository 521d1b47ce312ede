// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

const (
	heldSet  = "held"  // hardware addresses whose new connections wait on this node
	goingSet = "going" // their addresses: established connections to them go on
	// goingMark is a bit that Docker, kube-proxy, Calico, Cilium, Tailscale and CNI's port mapping leave alone.
	goingMark = 0x1000
	// goingTable and goingPriority are ours among the host's routes and routing rules; Calico takes tables up to 250, Cilium some from 2000.
	goingTable    = 5358
	goingPriority = 5000
	// sentAfter is how long after a release a packet may still come to the former place; a second is far beyond any way between nodes.
	sentAfter = "1s"
)

// Hold lets new connections to the application with this address wait in the kernel, until Enliven here or on another node lets them
// all go on at once. Established ones go on, so that the application can end them in good order; after Deaden everything waits.
// After limit the kernel ends the hold by itself; who has waited for 30 s is refused even before. Holding again begins a new limit.
func (n *Network) Hold(_ context.Context, addr netip.Addr, limit time.Duration) error {
	if !addr.Is4() {
		return fmt.Errorf("hold connections to %q: not an IPv4 address", addr)
	}
	if limit < time.Millisecond {
		return fmt.Errorf("hold connections to %s: limit %v is too short", addr, limit)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("hold connections to %s: find bridge %s: %w", addr, n.bridge, err)
	}
	// The way for those that go on stands before anyone is sent there.
	stacks, err := n.stacks()
	if err != nil {
		return fmt.Errorf("hold connections to %s: %w", addr, err)
	}
	for _, s := range slices.Backward(stacks) {
		if err := s.makeWay(bridge, s.of(addr)); err != nil {
			return fmt.Errorf("hold connections to %s: make the way for established ones: %w", addr, err)
		}
	}
	if err := holdElements(stacks, addr, limit); err != nil {
		return fmt.Errorf("hold connections to %s: %w", addr, err)
	}
	// What this node sends to the address waits as long as the node does not know its hardware address.
	for _, s := range stacks {
		if err := s.forgetNeighbour(bridge, s.of(addr)); err != nil {
			return fmt.Errorf("hold connections to %s: forget the hardware address of %s: %w", addr, s.of(addr), err)
		}
	}
	n.log.Debug("connections are held", "address", addr, "limit", limit)
	return nil
}

// holdElements puts the address into all sets; one that is there already gets the new limit.
func holdElements(stacks []stack, addr netip.Addr, limit time.Duration) error {
	held := heldElements(stacks, []netip.Addr{addr}, false)
	for i := range held {
		held[i].limit = limit
	}
	err := changeElements(append(endHolds(stacks, []netip.Addr{addr}), held...))
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this node has not joined the cluster network: %w", err)
	}
	return err
}

// endHolds takes the addresses out of all sets, in which they need not be.
func endHolds(stacks []stack, addrs []netip.Addr) []elements {
	return append(heldElements(stacks, addrs, false), heldElements(stacks, addrs, true)...)
}

func heldElements(stacks []stack, addrs []netip.Addr, away bool) []elements {
	held := elements{family: unix.NFPROTO_BRIDGE, set: heldSet, away: away}
	for _, addr := range addrs {
		held.keys = append(held.keys, macOf(addr))
	}
	return append(addressElements(stacks, goingSet, addrs, away), held)
}

func heldAddresses() *knftables.Set {
	size := uint64(1 << 16) // the most there can be; the kernel wants to know where packets change a set
	return &knftables.Set{Name: heldSet, Type: "ether_addr", Flags: []knftables.SetFlag{knftables.DynamicFlag, knftables.TimeoutFlag}, Size: &size}
}

func (s stack) going() *knftables.Set {
	return &knftables.Set{Name: goingSet, Type: s.key, Flags: []knftables.SetFlag{knftables.TimeoutFlag}}
}

// holdChains are those of table "bridge flocker": frames that are to wait are turned over to this node, where they are routed to the
// address and wait with what the node itself has for it.
func holdChains(bridge netlink.Link, f Fabric) []chain {
	toHeld := "ether daddr @" + heldSet
	ofHeld := fmt.Sprintf("iifname != %q ether saddr @%s", tunnelName, heldSet)
	hold := []string{
		// Who speaks from another node lives there now: nothing waits any more. What is on its way here yet is still turned
		// over, and so sent after it: a tunnel's frames do not go back into the tunnel.
		fmt.Sprintf("iifname %q ether type arp ether saddr @%s update @%s { ether saddr timeout %s }", tunnelName, heldSet, heldSet, sentAfter),
	}
	// The node must not learn the hardware address from an application that is still there. A request without the sender's address is
	// answered all the same.
	input := []string{ofHeld + " arp operation request arp saddr ip set 0.0.0.0", ofHeld + " arp operation reply drop"}
	for _, s := range stacksOf(f.Subnet6) {
		// What this node sent to the holding one comes back to the application here. See "guard".
		hold = append(hold, fmt.Sprintf("iifname %q %s saddr %s meta mark set meta mark or %#x", tunnelName, s.family, s.of(f.Address), goingMark))
		frames := "ether type ip"
		if s.kernel == unix.AF_INET6 {
			frames = fmt.Sprintf("ip6 daddr %s", f.Subnet6) // what goes to an address of the link only cannot be routed
			hold = append(hold, toHeld+" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } return")
			input = append(input, ofHeld+" jump asks")
		}
		hold = append(hold,
			fmt.Sprintf("%s ether daddr != @%s %s goto over", toHeld, liveSet, frames),
			fmt.Sprintf("%s %s tcp flags & (syn|ack) == syn goto over", toHeld, frames))
	}
	return []chain{
		{name: "asks", rules: askRules(f)},
		{name: "over", rules: []string{fmt.Sprintf("ether daddr set %s meta pkttype set host", bridge.Attrs().HardwareAddr)}},
		{name: "hold", rules: hold},
		{name: "input", kind: knftables.FilterType, hook: knftables.InputHook, priority: "-200", rules: input},
	}
}

// addressBits are those of an IPv6 address in the cluster network that are the IPv4 address.
const addressBits = "::ffff:ffff"

// askRules let an application that is held ask for this node by IPv6 without letting it learn the hardware address: a request must
// have a sender to be answered, so it gets the next hop of what goes on, whose hardware address is fixed.
func askRules(f Fabric) []string {
	if !f.Subnet6.IsValid() {
		return nil
	}
	return []string{
		fmt.Sprintf("ip6 saddr %s icmpv6 type nd-neighbor-solicit ip6 saddr set ip6 saddr & %s | %s", f.Subnet6, addressBits, alias6.Addr()),
		"icmpv6 type nd-neighbor-advert drop",
	}
}

// answerRules bring the answer to who has asked.
func answerRules(f Fabric) []string {
	if !f.Subnet6.IsValid() {
		return nil
	}
	return []string{fmt.Sprintf("icmpv6 type nd-neighbor-advert ip6 daddr %s ip6 daddr set ip6 daddr & %s | %s", alias6, addressBits, f.Subnet6.Addr())}
}

// goingChains are those of the tables that lead: what goes on takes another way than what waits.
func (s stack) goingChains() []chain {
	toHeld := fmt.Sprintf("%s daddr @%s", s.family, goingSet)
	rules := []string{
		// Connection tracking takes a new connection for a part of the one before it from the same port, as long as it knows that one.
		toHeld + " tcp flags & (syn|ack) == syn return",
		fmt.Sprintf("%s ct state established,related meta mark set meta mark or %#x", toHeld, goingMark),
	}
	return []chain{{
		name: "going", kind: knftables.FilterType, hook: knftables.PreroutingHook, priority: "-90", // published ports are led before
		rules: rules,
	}, {
		name: "goingout", kind: knftables.RouteType, hook: knftables.OutputHook, priority: "-90",
		rules: rules,
	}}
}
