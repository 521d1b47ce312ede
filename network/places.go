// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/cluster"
)

const macLength = 6

// macOf is the hardware address of an application, the same wherever it is.
func macOf(addr netip.Addr) net.HardwareAddr {
	mac, err := net.ParseMAC(cluster.MACOf(addr))
	if err != nil {
		return nil // not an IPv4 address, which nobody is let through with
	}
	return mac
}

// forgetPlaces drops what this node learned of where the addresses are: frames to them go everywhere until they speak. Each is asked
// for by name: there may be thousands of others.
func (n *Network) forgetPlaces(bridge netlink.Link, addrs []netip.Addr) error {
	tunnel, err := findTunnel()
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		mac := macOf(addr)
		port, err := placeOf(bridge, mac)
		if err != nil {
			return fmt.Errorf("ask bridge %s for the place of %s: %w", n.bridge, addr, err)
		}
		forgotten := []*netlink.Neigh{}
		if port != 0 {
			forgotten = append(forgotten, &netlink.Neigh{LinkIndex: port, Flags: netlink.NTF_MASTER})
		}
		if tunnel != nil {
			forgotten = append(forgotten, &netlink.Neigh{LinkIndex: tunnel.Index, Flags: netlink.NTF_SELF, IP: net.IPv4zero})
		}
		for _, place := range forgotten {
			place.Family, place.HardwareAddr = unix.AF_BRIDGE, mac
			if err := netlink.NeighDel(place); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("forget the place of %s on bridge %s: %w", addr, n.bridge, err)
			}
		}
	}
	return nil
}

// placeOf is the index of the bridge's port behind which the hardware address was last heard, 0 where none is known.
func placeOf(bridge netlink.Link, mac net.HardwareAddr) (int, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	request.AddData(&netlink.Ndmsg{Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER})
	request.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, mac))
	request.AddData(nl.NewRtAttr(netlink.NDA_MASTER, nl.Uint32Attr(uint32(bridge.Attrs().Index))))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil || len(answers) == 0 {
		return 0, err
	}
	place, err := netlink.NeighDeserialize(answers[0])
	if err != nil {
		return 0, err
	}
	return place.LinkIndex, nil
}

// forgetNeighbour lets what this node sends to the address wait until somebody answers for it. Where it waits already nothing is
// forgotten: that would refuse all who wait.
func (s stack) forgetNeighbour(bridge netlink.Link, addr netip.Addr) error {
	request := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	request.AddData(&netlink.Ndmsg{Family: uint8(s.kernel), Index: uint32(bridge.Attrs().Index)})
	request.AddData(nl.NewRtAttr(netlink.NDA_DST, addr.AsSlice()))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil || len(answers) == 0 {
		return ignore(err, unix.ENOENT)
	}
	known, err := netlink.NeighDeserialize(answers[0])
	if err != nil || known.State == netlink.NUD_INCOMPLETE {
		return err
	}
	return ignore(netlink.NeighDel(known), unix.ENOENT)
}

func kernelFamily(addr netip.Addr) uint8 {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// knowNeighbours tells this node's own stack, where it asks for one of them, the hardware addresses: what waits for an answer goes out
// at once. Others are left alone: the kernel's table of neighbours is small, and one for all namespaces.
func (n *Network) knowNeighbours(bridge netlink.Link, addrs []netip.Addr) error {
	for _, addr := range addrs {
		request := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_REPLACE|unix.NLM_F_ACK)
		request.AddData(&netlink.Ndmsg{Family: kernelFamily(addr), Index: uint32(bridge.Attrs().Index), State: netlink.NUD_STALE})
		request.AddData(nl.NewRtAttr(netlink.NDA_DST, addr.AsSlice()))
		request.AddData(nl.NewRtAttr(netlink.NDA_LLADDR, macOf(ipv4Of(addr))))
		if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("tell the node the hardware address of %s on bridge %s: %w", addr, n.bridge, err)
		}
	}
	return nil
}
