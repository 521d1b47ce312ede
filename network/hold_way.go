// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (s stack) goingRule() *netlink.Rule {
	rule, mask := netlink.NewRule(), uint32(goingMark)
	rule.Family, rule.Table, rule.Priority, rule.Mark, rule.Mask = s.kernel, goingTable, goingPriority, goingMark, &mask
	return rule
}

// makeWay is how marked packets reach the application while the node does not know its hardware address.
func (s stack) makeWay(bridge netlink.Link, addr netip.Addr) error {
	if err := netlink.RuleAdd(s.goingRule()); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add routing rule: %w", err)
	}
	if err := netlink.NeighSet(s.aliasNeighbour(bridge.Attrs().Index, addr)); err != nil {
		return fmt.Errorf("add neighbour %s: %w", aliasOf(addr), err)
	}
	if err := netlink.RouteReplace(wayOf(bridge.Attrs().Index, addr)); err != nil {
		return fmt.Errorf("add route in table %d: %w", goingTable, err)
	}
	return nil
}

func (s stack) aliasNeighbour(bridge int, addr netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: bridge, Family: s.kernel, State: netlink.NUD_PERMANENT, IP: aliasOf(addr).AsSlice(), HardwareAddr: macOf(ipv4Of(addr)),
	}
}

func wayOf(bridge int, addr netip.Addr) *netlink.Route {
	return &netlink.Route{
		LinkIndex: bridge, Dst: ipNet(netip.PrefixFrom(addr, addr.BitLen())), Gw: aliasOf(addr).AsSlice(), Table: goingTable,
		Flags: int(netlink.FLAG_ONLINK),
	}
}

// wayStands says whether a hold of the address was made here and not ended by us; the way of its IPv4 address is made last. It asks for
// this one: a host may have many routes.
func wayStands(addr netip.Addr) (bool, error) {
	routes, err := netlink.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{Mark: goingMark})
	if err != nil || len(routes) == 0 {
		return false, ignore(err, unix.ENETUNREACH, unix.EHOSTUNREACH)
	}
	return routes[0].Gw.Equal(aliasOf(addr).AsSlice()), nil
}

// released are those of the addresses for which a hold was made here.
func released(addrs []netip.Addr) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, addr := range addrs {
		stands, err := wayStands(addr)
		if err != nil {
			return nil, fmt.Errorf("look for a hold of %s: %w", addr, err)
		}
		if stands {
			all = append(all, addr)
		}
	}
	return all, nil
}

// ignore is the error unless it is one of those.
func ignore(err error, those ...error) error {
	for _, one := range those {
		if errors.Is(err, one) {
			return nil
		}
	}
	return err
}

// Holds reads back from the kernel for which addresses a hold was made on this node and not ended by it; another node, or its
// limit, may have ended it.
func (n *Network) Holds(context.Context) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return ipv4.ways()
}

// ways are the addresses in this family for which a hold was made here and not ended by us. The kernel may have ended it.
func (s stack) ways() ([]netip.Addr, error) {
	routes, err := steady(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(s.kernel, &netlink.Route{Table: goingTable}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes in table %d: %w", goingTable, err)
	}
	var all []netip.Addr
	for _, r := range routes {
		if r.Dst != nil {
			all = append(all, prefixOf(r.Dst).Addr())
		}
	}
	return all, nil
}

// removeWays takes away what the kernel does not end by itself.
func (s stack) removeWays(bridge netlink.Link, addrs []netip.Addr) error {
	for _, addr := range addrs {
		if err := netlink.RouteDel(wayOf(bridge.Attrs().Index, addr)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove the way of held %s: %w", addr, err)
		}
		if err := netlink.NeighDel(s.aliasNeighbour(bridge.Attrs().Index, addr)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove neighbour %s of held %s: %w", aliasOf(addr), addr, err)
		}
	}
	return nil
}

// tidyHolds removes the ways of holds that the kernel has ended.
func (n *Network) tidyHolds(ctx context.Context) error {
	stacks, err := n.stacks()
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(stacks) {
		if err := n.tidyHoldsOf(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) tidyHoldsOf(ctx context.Context, s stack) error {
	made, err := s.ways()
	if err != nil || len(made) == 0 {
		return err
	}
	rules, err := n.nft(s)
	if err != nil {
		return err
	}
	going, err := listAddresses(ctx, rules, goingSet, netip.ParseAddr)
	if err != nil {
		return err
	}
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	return s.removeWays(bridge, without(made, going))
}

// removeHolds leaves nothing of any hold in this family.
func (n *Network) removeHolds(s stack) error {
	rule := s.goingRule()
	if err := netlink.RuleDel(rule); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove routing rule of table %d: %w", goingTable, err)
	}
	made, err := s.ways()
	if err != nil || len(made) == 0 {
		return err
	}
	bridge, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	return s.removeWays(bridge, made)
}
