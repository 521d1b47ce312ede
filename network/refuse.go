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

// refusedSet are addresses of the cluster network at which nobody is: what this node leads there is refused.
const refusedSet = "refused"

// Refuse makes this node refuse at once what it would lead to exactly these addresses, and what its containers send there. Without it
// a client of an application whose node is dead waits as long as one whose application moves. After limit it ends by itself.
func (n *Network) Refuse(_ context.Context, addrs []netip.Addr, limit time.Duration) error {
	for _, addr := range addrs {
		if !addr.Is4() {
			return fmt.Errorf("refuse connections to %q: not an IPv4 address", addr)
		}
	}
	if limit < time.Millisecond && len(addrs) > 0 {
		return fmt.Errorf("refuse connections to %v: limit %v is too short", addrs, limit)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	stacks, err := n.stacks()
	if err != nil {
		return fmt.Errorf("refuse connections to %v: %w", addrs, err)
	}
	var changes []elements
	for _, refused := range addressElements(stacks, refusedSet, addrs, false) {
		refused.limit = limit
		changes = append(changes, elements{family: refused.family, set: refusedSet, away: true, all: true}, refused)
	}
	err = changeElements(changes)
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("this node has not joined the cluster network: %w", err)
	}
	if err == nil {
		err = n.standInFor(inAll(stacks, addrs), limit)
	}
	if err != nil {
		return fmt.Errorf("refuse connections to %v: %w", addrs, err)
	}
	return nil
}

// Silent returns those of the addresses that do not answer a question to all nodes within wait.
func (n *Network) Silent(_ context.Context, addrs []netip.Addr, wait time.Duration) ([]netip.Addr, error) {
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return nil, fmt.Errorf("ask for %v: find bridge %s: %w", addrs, n.bridge, err)
	}
	s, err := openARP(bridge)
	if err != nil {
		return nil, fmt.Errorf("ask for %v: %w", addrs, err)
	}
	defer unix.Close(s.file)
	silent, err := s.untilAnswered(addrs, wait, wait/5)
	if err != nil {
		return nil, fmt.Errorf("ask for %v: %w", addrs, err)
	}
	return silent, nil
}

func (s stack) refused() *knftables.Set {
	return &knftables.Set{Name: refusedSet, Type: s.key, Flags: []knftables.SetFlag{knftables.TimeoutFlag}}
}

// forwardChains reject before a packet would wait for an answer to its address, and keep shut what is not published where Docker may
// not: until 27 it filters no IPv6 unless it is told to.
func (s stack) forwardChains(bridge string) []chain {
	unreachable := "icmp host-unreachable"
	if s.kernel == unix.AF_INET6 {
		unreachable = "icmpv6 addr-unreachable"
	}
	rules := []string{
		fmt.Sprintf("%s daddr @%s meta l4proto tcp reject with tcp reset", s.family, refusedSet),
		fmt.Sprintf("%s daddr @%s reject with %s", s.family, refusedSet, unreachable),
	}
	forward := rules
	if s.kernel == unix.AF_INET6 {
		forward = slices.Concat(rules, []string{fmt.Sprintf("iifname != %q oifname %q ct state new ct status & dnat == 0 drop", bridge, bridge)})
	}
	return []chain{
		{name: "forward", kind: knftables.FilterType, hook: knftables.ForwardHook, priority: "-10", rules: forward},
		{name: "refuseout", kind: knftables.FilterType, hook: knftables.OutputHook, priority: "-10", rules: rules},
	}
}
