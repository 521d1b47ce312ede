// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/flocker-project/flocker/cluster"
)

// stack is one of the two families of addresses. An application is called by its IPv4 address; of says which it has in this family.
type stack struct {
	family  knftables.Family // of our table, and the word for its addresses in rules
	kernel  int              // unix.AF_INET, unix.AF_INET6
	filter  byte             // unix.NFPROTO_IPV4, unix.NFPROTO_IPV6
	key     string           // nft's type of its addresses
	subnet6 netip.Prefix     // of IPv6
}

var ipv4 = stack{family: knftables.IPv4Family, kernel: unix.AF_INET, filter: unix.NFPROTO_IPV4, key: "ipv4_addr"}

func ipv6(subnet netip.Prefix) stack {
	return stack{family: knftables.IPv6Family, kernel: unix.AF_INET6, filter: unix.NFPROTO_IPV6, key: "ipv6_addr", subnet6: subnet}
}

// of is the address in this family of whoever has that IPv4 address.
func (s stack) of(addr netip.Addr) netip.Addr {
	if s.kernel == unix.AF_INET {
		return addr
	}
	return cluster.Address6(s.subnet6, addr)
}

// ofAll is of for many.
func (s stack) ofAll(addrs []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, len(addrs))
	for i, addr := range addrs {
		all[i] = s.of(addr)
	}
	return all
}

// inAll are the addresses in all families.
func inAll(stacks []stack, addrs []netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, s := range stacks {
		all = append(all, s.ofAll(addrs)...)
	}
	return all
}

// ipv4Of is the IPv4 address of whoever has the address in either family.
func ipv4Of(addr netip.Addr) netip.Addr {
	bytes := addr.AsSlice()
	return netip.AddrFrom4([4]byte(bytes[len(bytes)-4:]))
}

func stacksOf(subnet6 netip.Prefix) []stack {
	if !subnet6.IsValid() {
		return []stack{ipv4}
	}
	return []stack{ipv4, ipv6(subnet6)}
}

// stacks are the families of this node's part of the cluster network. A process that has not joined reads them back from the bridge.
// The lock is held.
func (n *Network) stacks() ([]stack, error) {
	if n.member {
		return stacksOf(n.subnet6), nil
	}
	bridge, err := netlink.LinkByName(n.bridge)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return []stack{ipv4}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	var four, six []netlink.Addr
	for family, all := range map[int]*[]netlink.Addr{unix.AF_INET: &four, unix.AF_INET6: &six} {
		*all, err = steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, family) })
		if err != nil {
			return nil, fmt.Errorf("list addresses of bridge %s: %w", n.bridge, err)
		}
	}
	return stacksOf(subnet6Among(four, six)), nil
}

// subnet6Among finds the address that goes with an IPv4 address; others are not the cluster network's.
func subnet6Among(four, six []netlink.Addr) netip.Prefix {
	for _, a := range six {
		own := prefixOf(a.IPNet)
		for _, b := range four {
			if own.Bits() == subnet6Bits && own.Addr() == cluster.Address6(own.Masked(), prefixOf(b.IPNet).Addr()) {
				return own.Masked()
			}
		}
	}
	return netip.Prefix{}
}

const subnet6Bits = 64

// aliasOf is a next hop that nobody else uses: an IPv4 address with a first byte that means nothing, as a subnet has at most 24 bits
// below it, or a link-local IPv6 address with the same last 32 bits.
func aliasOf(addr netip.Addr) netip.Addr {
	last := ipv4Of(addr).As4()
	if addr.Is4() {
		last[0] = 240
		return netip.AddrFrom4(last)
	}
	alias := alias6.Addr().As16()
	binary.BigEndian.PutUint32(alias[12:], binary.BigEndian.Uint32(last[:]))
	return netip.AddrFrom16(alias)
}

// alias6 are the IPv6 next hops.
var alias6 = netip.MustParsePrefix("fe80::f10c:0:0/96")
