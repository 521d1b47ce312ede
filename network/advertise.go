// SPDX-License-Identifier: Apache-2.0

package network

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// announcement is the frame by which an address says where it is.
func announcement(addr netip.Addr) []byte {
	if addr.Is4() {
		return gratuitousARP(addr)
	}
	return advertisement{
		of: addr, mac: macOf(ipv4Of(addr)), to: netip.IPv6LinkLocalAllNodes(), toMAC: []byte{0x33, 0x33, 0, 0, 0, 1}, flags: overrideFlag,
	}.frame()
}

// Flags of an advertisement.
const (
	overrideFlag  = 0x20 // it replaces what is known
	solicitedFlag = 0x40
)

// advertisement is a neighbour advertisement: who has the address, and whom that is told.
type advertisement struct {
	of    netip.Addr
	mac   net.HardwareAddr
	to    netip.Addr
	toMAC net.HardwareAddr
	flags byte
}

func (a advertisement) frame() []byte {
	const (
		kind   = 136
		target = 2 // the option that names the hardware address, in units of 8 bytes
		hops   = 255
	)
	said := append([]byte{kind, 0, 0, 0, a.flags, 0, 0, 0}, a.of.AsSlice()...)
	said = append(append(said, target, 1), a.mac...)
	binary.BigEndian.PutUint16(said[2:], checksum6(a.of, a.to, said))

	frame := append(append([]byte{}, a.toMAC...), a.mac...)
	frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0) // IPv6
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(said)))
	frame = append(frame, unix.IPPROTO_ICMPV6, hops)
	frame = append(append(frame, a.of.AsSlice()...), a.to.AsSlice()...)
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
