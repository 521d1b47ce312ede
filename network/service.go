// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// answerTo gives the bridge the service address, and takes that of an earlier fabric away; no address is valid too.
func answerTo(bridge netlink.Link, service netip.Addr) error {
	name := bridge.Attrs().Name
	all, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(bridge, unix.AF_INET) })
	if err != nil {
		return fmt.Errorf("list addresses of bridge %s: %w", name, err)
	}
	stands := false
	for _, a := range all {
		if a.Label != name+serviceLabel {
			continue
		}
		if prefixOf(a.IPNet).Addr() == service {
			stands = true
			continue
		}
		if err := netlink.AddrDel(bridge, &a); err != nil {
			return fmt.Errorf("take service address %s from bridge %s: %w", a.IPNet, name, err)
		}
	}
	if stands || !service.IsValid() {
		return nil
	}
	own := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(service, 32)), Label: name + serviceLabel}
	if err := netlink.AddrAdd(bridge, own); err != nil {
		return fmt.Errorf("give bridge %s the service address %s: %w", name, service, err)
	}
	return nil
}

// serviceLabel marks the address that is ours among those of the bridge.
const serviceLabel = ":svc"

// removeService takes the service address away; without a bridge there is none.
func (n *Network) removeService() error {
	bridge, err := netlink.LinkByName(n.bridge)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", n.bridge, err)
	}
	return answerTo(bridge, netip.Addr{})
}
