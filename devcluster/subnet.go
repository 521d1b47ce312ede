// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/moby/moby/client"
	"github.com/vishvananda/netlink"
)

var errNoSubnet = errors.New("no free subnet for the development cluster")

// chooseSubnet picks the first candidate that overlaps with nothing in use. The candidates lie where neither Docker
// nor Flocker's own networks look for theirs.
func chooseSubnet(used []netip.Prefix) (netip.Prefix, error) {
	for third := range 256 {
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 87, byte(third), 0}), 24)
		if !overlapsAny(candidate, used) {
			return candidate, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%w: all of 10.87.0.0/16 is in use on this machine", errNoSubnet)
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		// A default route covers everything and takes nothing.
		if u.Bits() > 0 && u.Overlaps(p) {
			return true
		}
	}
	return false
}

// usedSubnets are those of this machine's routes and of the engine's networks, which have no route while nothing runs.
func (e *Engine) usedSubnets(ctx context.Context) ([]netip.Prefix, error) {
	var used []netip.Prefix
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(r.Dst.IP.To4()); ok {
			ones, _ := r.Dst.Mask.Size()
			used = append(used, netip.PrefixFrom(addr, ones))
		}
	}
	networks, err := e.docker.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	for _, n := range networks.Items {
		for _, config := range n.IPAM.Config {
			if config.Subnet.IsValid() {
				used = append(used, config.Subnet)
			}
		}
	}
	return used, nil
}
