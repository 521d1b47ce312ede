// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// DefaultSubnet is the cluster network of a cluster that names none.
const DefaultSubnet = "10.144.0.0/16"

// A subnet's size. Above /24 there is no room for a cluster; below /8 there is no private range.
const (
	minSubnetBits = 8
	maxSubnetBits = 24
)

// Fabric is the network that stretches over all nodes. It is fixed when the cluster is made.
type Fabric struct {
	Subnet string `json:"subnet"`
	// Subnet6 is empty in a cluster without IPv6: one that was made so, or by an earlier version.
	Subnet6 string `json:"subnet6,omitempty" doc:"the IPv6 addresses that go with those of the subnet; absent where the cluster has none"`
}

// Service is the address to which every node answers itself: the subnet's first. It is the zero address when there
// is no subnet.
func (f Fabric) Service() netip.Addr {
	subnet, err := ParseSubnet(f.Subnet)
	if err != nil {
		return netip.Addr{}
	}
	return subnet.Addr().Next()
}

// ParseSubnet reads a cluster network's subnet. It must be written by its network address, so that one subnet has one text.
func ParseSubnet(text string) (netip.Prefix, error) {
	const allowed = "want an IPv4 subnet from /8 to /24, such as " + DefaultSubnet
	bad := func(format string, args ...any) (netip.Prefix, error) {
		return netip.Prefix{}, &FieldError{Field: "subnet", Problem: fmt.Sprintf("%.60q ", text) + fmt.Sprintf(format, args...)}
	}
	subnet, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return bad("is not a subnet; %s", allowed)
	case !subnet.Addr().Is4():
		return bad("is not IPv4; %s", allowed)
	case subnet.Bits() < minSubnetBits || subnet.Bits() > maxSubnetBits:
		return bad("has a prefix of %d bits; %s", subnet.Bits(), allowed)
	case subnet.Masked() != subnet:
		return bad("names an address inside the subnet; write %s", subnet.Masked())
	}
	for _, r := range reservedRanges() {
		if subnet.Overlaps(r.prefix) {
			return bad("overlaps %s, which is for %s; take a private range, such as %s", r.prefix, r.use, DefaultSubnet)
		}
	}
	return subnet, nil
}

type reservedRange struct {
	prefix netip.Prefix
	use    string
}

// reservedRanges are those in which no kernel lets a host have an ordinary address.
func reservedRanges() []reservedRange {
	return []reservedRange{
		{netip.MustParsePrefix("0.0.0.0/8"), "hosts without an address"},
		{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
		{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
		{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
		{netip.MustParsePrefix("240.0.0.0/4"), "reserved and broadcast addresses"},
	}
}

// LastAddress is a subnet's broadcast address.
func LastAddress(subnet netip.Prefix) netip.Addr {
	first := subnet.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(first[:]) | (1<<(addressBits-subnet.Bits()) - 1)
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], last)
	return netip.AddrFrom4(b)
}

const addressBits = 32 // of IPv4

// MACOf is the hardware address that goes with an IPv4 address of the cluster network, the same wherever the address
// is: neighbours need not learn anew when it moves. Other addresses have none.
func MACOf(addr netip.Addr) string {
	if !addr.Is4() {
		return ""
	}
	b := addr.As4()
	return fmt.Sprintf("02:f1:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}
