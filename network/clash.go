// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrClash says that this host uses a part of the cluster's subnet for something else.
var ErrClash = errors.New("subnet is in use on this host")

// checkClash refuses a subnet of which this host uses a part elsewhere: the one or the other would not be reached.
func checkClash(bridge netlink.Link, s stack, f Fabric) error {
	subnet := s.subnetOf(f)
	addresses, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, s.kernel) })
	if err != nil {
		return fmt.Errorf("join cluster network %s: list addresses of this host: %w", subnet, err)
	}
	for _, a := range addresses {
		if a.LinkIndex != bridge.Attrs().Index && subnet.Contains(prefixOf(a.IPNet).Addr()) {
			return clash(subnet, fmt.Sprintf("device %s has address %s", deviceName(a.LinkIndex), prefixOf(a.IPNet)))
		}
	}
	// Table 0 asks for the routes of all tables.
	routes, err := steady(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(s.kernel, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("join cluster network %s: list routes of this host: %w", subnet, err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.LinkIndex == bridge.Attrs().Index || r.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		if to := prefixOf(r.Dst); to.Bits() >= subnet.Bits() && subnet.Contains(to.Addr()) {
			return clash(subnet, fmt.Sprintf("device %s has the route to %s", deviceName(r.LinkIndex), to))
		}
	}
	return nil
}

func clash(subnet netip.Prefix, what string) error {
	return fmt.Errorf("join cluster network %s: %w: %s; make the cluster with another subnet, or remove it", subnet, ErrClash, what)
}

func deviceName(index int) string {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Sprintf("number %d", index)
	}
	return link.Attrs().Name
}
