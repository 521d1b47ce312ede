// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

// Live makes the applications that are heard from this node exactly those with these addresses, and changes only what differs.
func (n *Network) Live(ctx context.Context, addrs []netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	heard, led, err := n.lives(ctx)
	if err != nil {
		return err
	}
	// Where one set has an address that the other has not, another hand was here: it is made as wanted in both.
	gone := without(slices.Concat(heard, without(led, heard)), addrs)
	fresh := without(addrs, common(heard, led))
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
	heard, led, err := n.lives(ctx)
	return common(heard, led), err
}

// lives reads both sets: who is heard, and who is led to with the client's own address.
func (n *Network) lives(ctx context.Context) (heard, led []netip.Addr, err error) {
	shut, err1 := kept(&n.shut, knftables.BridgeFamily, tableName)
	rules, err2 := n.nft()
	if err := errors.Join(err1, err2); err != nil {
		return nil, nil, err
	}
	heard, err1 = listAddresses(ctx, shut, liveSet, func(key string) (netip.Addr, error) {
		mac, err := net.ParseMAC(key)
		if err != nil || len(mac) != macLength {
			return netip.Addr{}, fmt.Errorf("%q is not a hardware address", key)
		}
		return netip.AddrFrom4([4]byte(mac[2:])), nil
	})
	led, err2 = listAddresses(ctx, rules, liveSet, netip.ParseAddr)
	return heard, led, errors.Join(err1, err2)
}

func listAddresses(ctx context.Context, nft knftables.Interface, set string, address func(key string) (netip.Addr, error)) ([]netip.Addr, error) {
	elements, err := nft.ListElements(ctx, "set", set)
	if knftables.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list applications that are heard: %w", err)
	}
	all := make([]netip.Addr, len(elements))
	for i, e := range elements {
		if all[i], err = address(e.Key[0]); err != nil {
			return nil, fmt.Errorf("list applications that are heard: %w", err)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
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
	held, err := released(fresh)
	if err != nil {
		return err
	}
	// Who is heard first: a connection that kept its client's address and went to the former place once more would come back from
	// there as a frame, which is in its own way in connection tracking.
	if err := n.changeSets(gone, fresh, held...); err != nil {
		return err
	}
	if err := n.forgetPlaces(bridge, slices.Concat(gone, fresh)); err != nil {
		return err
	}
	n.tellStraight(gone)
	// First the others: what waits here goes to every node until the application speaks, and one that holds would send it back.
	if err := n.announce(bridge, fresh, wait); err != nil {
		return err
	}
	if err := n.knowNeighbours(bridge, fresh); err != nil {
		return err
	}
	if len(fresh) > 0 {
		if err := explained(changeElements([]elements{ledElements(fresh, false)}), gone, fresh); err != nil {
			return err
		}
	}
	return removeWays(bridge, held)
}

// changeSets takes those who are gone out of both sets, lets the others be heard, and ends the holds of those that are
// released, in one transaction.
func (n *Network) changeSets(gone, fresh []netip.Addr, released ...netip.Addr) error {
	return explained(changeElements(slices.Concat([]elements{
		heardElements(slices.Concat(gone, fresh), false), // what is there already stays; only what is there can be taken away
		ledElements(gone, false),
		heardElements(gone, true), ledElements(gone, true),
	}, endHolds(released))), gone, fresh)
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

// ledElements are the addresses' members of the set of those who see their clients' addresses.
func ledElements(addrs []netip.Addr, away bool) elements {
	led := elements{family: unix.NFPROTO_IPV4, set: liveSet, away: away}
	for _, addr := range addrs {
		led.keys = append(led.keys, addr.AsSlice())
	}
	return led
}

// heardElements are the addresses' members of the set of those who are heard.
func heardElements(addrs []netip.Addr, away bool) elements {
	heard := elements{family: unix.NFPROTO_BRIDGE, set: liveSet, away: away}
	for _, addr := range addrs {
		heard.keys = append(heard.keys, macOf(addr))
	}
	return heard
}

// common is what both have.
func common[T comparable](one, other []T) []T { return without(one, without(one, other)) }
