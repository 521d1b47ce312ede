// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// forwarding6 is for all interfaces: before 6.17 no kernel has one for some.
	forwarding6 = "ipv6/conf/all/forwarding"
	// formerRouters is what is noted of a device that heard routers.
	formerRouters = "accept_ra"
)

// keepRouters lets this host go on hearing the routers from which it has its IPv6 routes: one that forwards takes itself for a router,
// forgets those routes and hears no more of them. Where it forwards already that is settled.
func keepRouters() error {
	now, err := readSetting(forwarding6)
	if err != nil || now == "1" {
		return err
	}
	routes, err := steady(func() ([]netlink.Route, error) {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: unix.RTPROT_RA}
		return netlink.RouteListFiltered(unix.AF_INET6, all, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("list routes from IPv6 routers: %w", err)
	}
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			return fmt.Errorf("find device number %d of an IPv6 router: %w", r.LinkIndex, err)
		}
		name := routersOf(link)
		hears, err := readSetting(name)
		if err == nil && hears == "1" {
			err = errors.Join(remember(link, formerRouters, hears), setting(name, "2"))
		}
		if err != nil {
			return fmt.Errorf("go on hearing IPv6 routers on device %s: %w", link.Attrs().Name, err)
		}
	}
	return nil
}

// letRoutersGo puts back which routers this host hears.
func letRoutersGo(links []netlink.Link) error {
	for _, link := range links {
		was, _ := former(link)
		value, changed := was[formerRouters]
		if !changed {
			continue
		}
		name := routersOf(link)
		if now, err := readSetting(name); err == nil && now == "2" { // a setting that is gone needs none
			if err := setting(name, value); err != nil {
				return fmt.Errorf("hear IPv6 routers on device %s as before: %w", link.Attrs().Name, err)
			}
		}
		if err := forgetFormer(link); err != nil {
			return err
		}
	}
	return nil
}

func routersOf(link netlink.Link) string {
	return filepath.Join("ipv6/conf", link.Attrs().Name, "accept_ra")
}
