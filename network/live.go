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
)

// Live makes the applications that are heard from this node exactly those with these addresses, and changes only what differs.
func (n *Network) Live(ctx context.Context, addrs []netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	sets, err := n.lives(ctx)
	if err != nil {
		return err
	}
	// Where one set has an address that another has not, another hand was here: it is made as wanted in all.
	gone := without(union(sets), addrs)
	fresh := without(addrs, common(sets))
	return errors.Join(n.changeLive(gone, fresh, 0), n.tidyHolds(ctx))
}

// Enliven lets the application with this address be heard from this node, and tells all nodes that it is here as soon as it
// answers, or after 250 ms.
func (n *Network) Enliven(_ context.Context, addr netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changeLive(nil, []netip.Addr{addr}, answerWithin)
}

// Deaden keeps the application with this address from being heard from this node.
func (n *Network) Deaden(_ context.Context, addr netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changeLive([]netip.Addr{addr}, nil, 0)
}

// Lives reads back from the kernel which applications are heard from this node.
func (n *Network) Lives(ctx context.Context) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sets, err := n.lives(ctx)
	return common(sets), err
}

// changeLive waits so long for those who are fresh to answer before it tells the others of them.
func (n *Network) changeLive(gone, fresh []netip.Addr, wait time.Duration) error {
	if len(gone)+len(fresh) == 0 {
		return nil
	}
	for _, addr := range slices.Concat(gone, fresh) {
		if !addr.Is4() {
			return fmt.Errorf("change who is heard: %q is not an IPv4 address", addr)
		}
	}
	if len(fresh) > 0 {
		n.telling.Wait() // or it would drop what comes to one that is back
	}
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("change who is heard, away %v, here %v: find bridge %s: %w", gone, fresh, n.bridge, err)
	}
	stacks, err1 := n.stacks()
	held, err2 := released(fresh)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	// Who is heard first: a connection that kept its client's address and went to the former place once more would come back from
	// there as a frame, which is in its own way in connection tracking.
	if err := changeSets(stacks, gone, fresh, held...); err != nil {
		return err
	}
	if err := n.forgetPlaces(bridge, slices.Concat(gone, fresh)); err != nil {
		return err
	}
	n.tellStraight(inAll(stacks, gone))
	// First the others: what waits here goes to every node until the application speaks, and one that holds would send it back.
	if err := n.announce(bridge, stacks, fresh, wait); err != nil {
		return err
	}
	if err := n.knowNeighbours(bridge, inAll(stacks, fresh)); err != nil {
		return err
	}
	if len(fresh) > 0 {
		if err := explained(changeElements(addressElements(stacks, liveSet, fresh, false)), gone, fresh); err != nil {
			return err
		}
	}
	for _, s := range slices.Backward(stacks) {
		if err := s.removeWays(bridge, s.ofAll(held)); err != nil {
			return err
		}
	}
	return nil
}

// changeSets takes those who are gone out of all sets, lets the others be heard, and ends the holds of those that are
// released, in one transaction.
func changeSets(stacks []stack, gone, fresh []netip.Addr, released ...netip.Addr) error {
	return explained(changeElements(slices.Concat(
		// What is there already stays; only what is there can be taken away.
		[]elements{heardElements(slices.Concat(gone, fresh), false)}, addressElements(stacks, liveSet, gone, false),
		[]elements{heardElements(gone, true)}, addressElements(stacks, liveSet, gone, true),
		endHolds(stacks, released))), gone, fresh)
}

func explained(err error, gone, fresh []netip.Addr) error {
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("this node has not joined the cluster network: %w", err)
	}
	if err != nil {
		return fmt.Errorf("change who is heard, away %v, here %v: %w", gone, fresh, err)
	}
	return nil
}

// addressElements are the applications' members of a set that each family has.
func addressElements(stacks []stack, set string, addrs []netip.Addr, away bool) []elements {
	var all []elements
	for _, s := range stacks {
		one := elements{family: s.filter, set: set, away: away}
		for _, addr := range addrs {
			one.keys = append(one.keys, s.of(addr).AsSlice())
		}
		all = append(all, one)
	}
	return all
}

// heardElements are the addresses' members of the set of those who are heard.
func heardElements(addrs []netip.Addr, away bool) elements {
	heard := elements{family: unix.NFPROTO_BRIDGE, set: liveSet, away: away}
	for _, addr := range addrs {
		heard.keys = append(heard.keys, macOf(addr))
	}
	return heard
}
