// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

// pinnedSet, in table "bridge flocker", has those of this node for whom nobody else may speak.
const pinnedSet = "pinned"

// Pin fixes where exactly the applications with these addresses are: on the node with that address for other nodes, or here where it is the
// zero one. What any other node says for them is dropped before anything is learned from it, for a frozen node's kernel goes on answering in
// the name of its containers. Places that were fixed before and are not any more are learned again.
func (n *Network) Pin(_ context.Context, places map[netip.Addr]netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	tunnel, err := findTunnel()
	if err == nil && tunnel == nil && len(places) > 0 {
		err = errors.New("this node has not joined the cluster network")
	}
	if err != nil {
		return fmt.Errorf("fix the places of %v: %w", slices.Collect(maps.Keys(places)), err)
	}
	if tunnel == nil {
		return nil
	}
	var own []netip.Addr
	elsewhere := map[netip.Addr]netip.Addr{}
	for addr, peer := range places {
		switch {
		case !addr.Is4() || peer.IsValid() && !peer.Is4():
			return fmt.Errorf("fix the place of %q at node %q: not an IPv4 address", addr, peer)
		case !peer.IsValid():
			own = append(own, addr)
		default:
			elsewhere[addr] = peer
		}
	}
	if err := changeSome(fresh(pinnedSet, 0, own)...); err != nil {
		return fmt.Errorf("fix the places of %v: %w", own, err)
	}
	return pinElsewhere(tunnel.Index, elsewhere)
}

// pinElsewhere makes these the only places of the tunnel that are fixed. The kernel drops what comes for a fixed one from another node
// (vxlan_snoop in its drivers/net/vxlan).
func pinElsewhere(tunnel int, places map[netip.Addr]netip.Addr) error {
	entries, err := steady(func() ([]netlink.Neigh, error) { return netlink.NeighList(tunnel, unix.AF_BRIDGE) })
	if err != nil {
		return fmt.Errorf("list forwarding entries of %s: %w", tunnelName, err)
	}
	stand := map[netip.Addr]bool{}
	for _, e := range entries {
		addr, peer, fixed := pinned(e)
		if !fixed {
			continue
		}
		if stand[addr] = places[addr] == peer; stand[addr] {
			continue
		}
		if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("let the place of %s be learned again: %w", addr, err)
		}
	}
	for addr, peer := range places {
		if stand[addr] {
			continue
		}
		err := netlink.NeighSet(&netlink.Neigh{
			LinkIndex: tunnel, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
			IP: peer.AsSlice(), HardwareAddr: macOf(addr),
		})
		if err != nil {
			return fmt.Errorf("fix the place of %s at %s: %w", addr, peer, err)
		}
	}
	return nil
}

// pinned is what an entry fixes: the one of whom not to know goes to all has no application's hardware address.
func pinned(e netlink.Neigh) (addr, peer netip.Addr, fixed bool) {
	peer, ok := netip.AddrFromSlice(e.IP.To4())
	if !ok || e.Flags&netlink.NTF_SELF == 0 || e.State&netlink.NUD_PERMANENT == 0 || len(e.HardwareAddr) != macLength {
		return addr, peer, false
	}
	addr = netip.AddrFrom4([4]byte(e.HardwareAddr[2:]))
	return addr, peer, slices.Equal(e.HardwareAddr, macOf(addr))
}

// pinnedRule drops what comes from other nodes in the name of an application that is fixed here.
func pinnedRule() string {
	return fmt.Sprintf("iifname %q ether saddr @%s drop", tunnelName, pinnedSet)
}

func pinnedAddresses() knftables.Object { return &knftables.Set{Name: pinnedSet, Type: "ether_addr"} }
