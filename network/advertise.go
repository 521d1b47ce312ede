// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// announcement is the frame by which an address says where it is.
func announcement(addr netip.Addr) []byte {
	if addr.Is4() {
		return gratuitousARP(addr)
	}
	return advertisement(addr)
}

// advertisement is an unsolicited neighbour advertisement to all hosts, which replaces what they know.
func advertisement(addr netip.Addr) []byte {
	const (
		kind     = 136
		override = 0x20
		target   = 2 // the option that names the sender's hardware address, in units of 8 bytes
		hops     = 255
	)
	everyone := netip.IPv6LinkLocalAllNodes()
	mac := macOf(ipv4Of(addr))
	said := append([]byte{kind, 0, 0, 0, override, 0, 0, 0}, addr.AsSlice()...)
	said = append(append(said, target, 1), mac...)
	binary.BigEndian.PutUint16(said[2:], checksum6(addr, everyone, said))

	frame := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac...)
	frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0) // IPv6
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(said)))
	frame = append(frame, unix.IPPROTO_ICMPV6, hops)
	frame = append(append(frame, addr.AsSlice()...), everyone.AsSlice()...)
	return append(frame, said...)
}

// checksum6 is ICMPv6's, of a message of even length whose own checksum is zero.
func checksum6(from, to netip.Addr, message []byte) uint16 {
	sum := uint32(len(message)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{from.AsSlice(), to.AsSlice(), message} {
		for ; len(part) > 0; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
