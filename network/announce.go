// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// announcements is how often each is sent: one lost frame would leave a node sending to the old place for minutes.
const announcements = 3

// announce tells every node, by gratuitous ARP in the applications' names, that they are here now.
func (n *Network) announce(bridge netlink.Link, addrs []netip.Addr) error {
	if len(addrs) == 0 {
		return nil
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("announce %v: open packet socket: %w", addrs, err)
	}
	// Closing such a socket waits until no processor can still deliver to it, 8 ms in which a move's clients need not wait.
	defer func() { go unix.Close(socket) }()
	// Each speaks once itself before, by which this node's bridge learns its port: all that waits would go to every port.
	frames := []func(netip.Addr) []byte{func(addr netip.Addr) []byte { return probeARP(bridge.Attrs().HardwareAddr, addr) }}
	for range announcements {
		frames = append(frames, gratuitousARP)
	}
	for _, frame := range frames {
		for _, addr := range addrs {
			if err := unix.Sendto(socket, frame(addr), 0, &unix.SockaddrLinklayer{Ifindex: bridge.Attrs().Index}); err != nil {
				return fmt.Errorf("announce %s on bridge %s: %w", addr, n.bridge, err)
			}
		}
	}
	return nil
}

// probeARP is a request for the address by nobody, which its holder answers.
func probeARP(from net.HardwareAddr, addr netip.Addr) []byte {
	mac, own := macOf(addr), addr.As4()
	frame := append(append([]byte{}, mac...), from...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP; Ethernet, IPv4, their lengths, request
	frame = append(append(frame, from...), 0, 0, 0, 0)
	return append(append(frame, 0, 0, 0, 0, 0, 0), own[:]...)
}

// gratuitousARP is a request for the address by its own holder.
func gratuitousARP(addr netip.Addr) []byte {
	everyone := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	mac, own := macOf(addr), addr.As4()
	frame := append(append([]byte{}, everyone...), mac...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP; Ethernet, IPv4, their lengths, request
	frame = append(append(frame, mac...), own[:]...)
	frame = append(append(frame, 0, 0, 0, 0, 0, 0), own[:]...)
	return frame
}
