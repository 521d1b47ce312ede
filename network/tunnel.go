// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	tunnelName = "flocker-vx"
	// overhead is what VXLAN adds to a frame: Ethernet, IPv4, UDP and its own header.
	overhead = 50
)

// flood is the hardware address under which VXLAN keeps where to send what it does not know.
var flood = net.HardwareAddr{0, 0, 0, 0, 0, 0}

// ensureTunnel makes the VXLAN device a port of the bridge.
func (n *Network) ensureTunnel(bridge netlink.Link, f Fabric, mtu int) error {
	tunnel, err := standingTunnel(f)
	if err == nil && tunnel == nil {
		tunnel, err = n.makeTunnel(f, mtu)
	}
	if err != nil {
		return err
	}
	if err := setMTU(tunnel, mtu); err != nil {
		return err
	}
	if err := followPeers(tunnel, f.Peers); err != nil {
		return err
	}
	return connectTunnel(tunnel, bridge)
}

// connectTunnel makes it a port. The bridge's own hardware address is fixed before: it would follow the ports', and with it all that
// neighbours know of the gateway.
func connectTunnel(tunnel, bridge netlink.Link) error {
	if tunnel.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := netlink.LinkSetHardwareAddr(bridge, bridge.Attrs().HardwareAddr); err != nil {
			return fmt.Errorf("fix the hardware address of bridge %s: %w", bridge.Attrs().Name, err)
		}
		if err := netlink.LinkSetMaster(tunnel, bridge); err != nil {
			return fmt.Errorf("make %s a port of bridge %s: %w", tunnelName, bridge.Attrs().Name, err)
		}
	}
	if tunnel.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := netlink.LinkSetUp(tunnel); err != nil {
		return fmt.Errorf("set device %s up: %w", tunnelName, err)
	}
	return nil
}

// underlayMTU is how much of a frame fits between nodes.
func underlayMTU(f Fabric) (int, error) {
	addresses, err := steady(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, unix.AF_INET) })
	if err != nil {
		return 0, fmt.Errorf("list addresses of this host: %w", err)
	}
	for _, a := range addresses {
		if prefixOf(a.IPNet).Addr() != f.Underlay {
			continue
		}
		device, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("find the device of address %s: %w", f.Underlay, err)
		}
		return device.Attrs().MTU - overhead, nil
	}
	return 0, fmt.Errorf("join cluster network %s: no device of this host has %s, at which other nodes are to reach it: set the node's address",
		f.Subnet, f.Underlay)
}

// standingTunnel is the device if it is there as wanted. One that differs in what cannot be changed goes away.
func standingTunnel(f Fabric) (netlink.Link, error) {
	link, err := findTunnel()
	if err != nil || link == nil {
		return nil, err
	}
	if link.VxlanId == int(f.Key) && link.Port == f.Port && link.Learning && link.SrcAddr.Equal(f.Underlay.AsSlice()) {
		return link, nil
	}
	if err := netlink.LinkDel(link); err != nil {
		return nil, fmt.Errorf("remove device %s of other settings: %w", tunnelName, err)
	}
	return nil, nil //nolint:nilnil // no device is an answer
}

// findTunnel is our VXLAN device, nil without one.
func findTunnel() (*netlink.Vxlan, error) {
	link, err := netlink.LinkByName(tunnelName)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil, nil //nolint:nilnil // no device is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", tunnelName, err)
	}
	ours, ok := link.(*netlink.Vxlan)
	if !ok {
		return nil, fmt.Errorf("device %s is a %s, not VXLAN: rename it, the name is Flocker's", tunnelName, link.Type())
	}
	return ours, nil
}

func (n *Network) makeTunnel(f Fabric, mtu int) (netlink.Link, error) {
	err := netlink.LinkAdd(&netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: tunnelName, MTU: mtu},
		VxlanId:   int(f.Key), SrcAddr: f.Underlay.AsSlice(), Port: f.Port, Learning: true, UDPCSum: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make device %s with key %d and port %d: %w", tunnelName, f.Key, f.Port, err)
	}
	n.log.Info("device to other nodes made", "device", tunnelName, "key", f.Key, "port", f.Port, "mtu", mtu)
	link, err := netlink.LinkByName(tunnelName)
	if err != nil {
		return nil, fmt.Errorf("find device %s: %w", tunnelName, err)
	}
	return link, nil
}

// followPeers makes the peers those to whom unknown frames go. What was learned of one that went is forgotten.
func followPeers(tunnel netlink.Link, peers []netip.Addr) error {
	index := tunnel.Attrs().Index
	entries, err := steady(func() ([]netlink.Neigh, error) { return netlink.NeighList(index, unix.AF_BRIDGE) })
	if err != nil {
		return fmt.Errorf("list forwarding entries of %s: %w", tunnelName, err)
	}
	var known []netip.Addr
	for _, e := range entries {
		peer, ok := netip.AddrFromSlice(e.IP.To4())
		switch {
		case !ok || e.Flags&netlink.NTF_SELF == 0:
		case !slices.Contains(peers, peer):
			if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("forget peer %s of %s: %w", peer, tunnelName, err)
			}
		case slices.Equal(e.HardwareAddr, flood):
			known = append(known, peer)
		}
	}
	for _, peer := range peers {
		if slices.Contains(known, peer) {
			continue
		}
		err := netlink.NeighAppend(&netlink.Neigh{
			LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
			IP: peer.AsSlice(), HardwareAddr: flood,
		})
		if err != nil {
			return fmt.Errorf("add peer %s to %s: %w", peer, tunnelName, err)
		}
	}
	return nil
}

// removeTunnel takes the device away.
func removeTunnel() error {
	link, err := findTunnel()
	if err != nil || link == nil {
		return err
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove device %s: %w", tunnelName, err)
	}
	return nil
}
