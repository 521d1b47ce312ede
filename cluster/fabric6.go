// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
)

// What can be asked for in place of an IPv6 subnet.
const (
	Subnet6Auto = "auto" // one of the cluster's own
	Subnet6None = "none"
)

const (
	subnet6Bits    = 64 // what every kernel and container runtime takes without a question
	exampleSubnet6 = "fd6e:2f1c:8a47::/64"
)

// Prefix6 is the subnet of the IPv6 addresses; not valid where there is none.
func (f Fabric) Prefix6() netip.Prefix {
	subnet, err := ParseSubnet6(f.Subnet6)
	if err != nil {
		return netip.Prefix{}
	}
	return subnet
}

// ChooseSubnet6 is what a cluster that is being made keeps as its IPv6 subnet: as asked for, and by default its own.
func ChooseSubnet6(asked, id string) (string, error) {
	switch asked {
	case "", Subnet6Auto:
		return OwnSubnet6(id).String(), nil
	case Subnet6None:
		return "", nil
	}
	subnet, err := ParseSubnet6(asked)
	if err != nil {
		return "", err
	}
	return subnet.String(), nil
}

// OwnSubnet6 is a unique local subnet (RFC 4193): its 40 bits are of a hash of the ID, so that two clusters whose networks are
// joined one day do not have the same one.
func OwnSubnet6(id string) netip.Prefix {
	sum := sha256.Sum256([]byte(id))
	b := [16]byte{0: 0xfd}
	copy(b[1:6], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), subnet6Bits)
}

// ParseSubnet6 reads the subnet of the IPv6 addresses. It must be written as the kernel writes it, so that one subnet has one text.
func ParseSubnet6(text string) (netip.Prefix, error) {
	const allowed = "want an IPv6 subnet of /64, such as " + exampleSubnet6
	bad := func(format string, args ...any) (netip.Prefix, error) {
		return netip.Prefix{}, &FieldError{Field: "subnet6", Problem: fmt.Sprintf("%.60q ", text) + fmt.Sprintf(format, args...)}
	}
	subnet, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return bad("is not a subnet; %s", allowed)
	case !subnet.Addr().Is6() || subnet.Addr().Is4In6():
		return bad("is not IPv6; %s", allowed)
	case subnet.Bits() != subnet6Bits:
		return bad("has a prefix of %d bits; %s", subnet.Bits(), allowed)
	case subnet.Masked() != subnet:
		return bad("names an address inside the subnet; write %s", subnet.Masked())
	case subnet.String() != text:
		return bad("is written otherwise; write %s", subnet)
	case !uniqueLocal.Contains(subnet.Addr()) && !globalUnicast.Contains(subnet.Addr()):
		return bad("is neither of %s nor of %s; take one of those, such as %s", uniqueLocal, globalUnicast, exampleSubnet6)
	}
	return subnet, nil
}

// The ranges in which hosts have ordinary addresses.
var (
	uniqueLocal   = netip.MustParsePrefix("fc00::/7")
	globalUnicast = netip.MustParsePrefix("2000::/3")
)

// Address6 is the IPv6 address that goes with an IPv4 address of the cluster network: the subnet's prefix, with the IPv4
// address in the last 32 bits. So there is one allocation, not two that could differ. There is none without a subnet.
func Address6(subnet6 netip.Prefix, addr netip.Addr) netip.Addr {
	if !subnet6.IsValid() || !addr.Is4() {
		return netip.Addr{}
	}
	b, a := subnet6.Masked().Addr().As16(), addr.As4()
	copy(b[12:], a[:])
	return netip.AddrFrom16(b)
}
