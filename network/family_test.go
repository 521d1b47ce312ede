// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

// family is that in which a test asks.
type family string

const (
	four family = "IPv4"
	six  family = "IPv6"
)

// inEachFamily tests both: what holds in one must hold in the other.
func inEachFamily(t *testing.T, test func(t *testing.T, f family)) {
	t.Helper()
	for _, f := range []family{four, six} {
		t.Run(string(f), func(t *testing.T) { test(t, f) })
	}
}

// of is the family's address of whoever has that IPv4 address, on the wire or in a network of containers.
func (f family) of(addr netip.Addr) netip.Addr {
	if f == four || !addr.Is4() || addr.IsLoopback() {
		return addr
	}
	subnet := clusterSubnet6
	if bytes := addr.As4(); bytes[1] != 144 {
		subnet = netip.MustParsePrefix(fmt.Sprintf("fd%02x:%x::/64", bytes[1], bytes[2]))
	}
	return cluster.Address6(subnet, addr)
}

// at is where to ask.
func (f family) at(addr netip.Addr, port int) string {
	return netip.AddrPortFrom(f.of(addr), uint16(port)).String()
}

// selfOf is the shortest way by which a node asks itself: nothing can be led from IPv6's loopback.
func (f family) selfOf(m *machine) netip.Addr {
	if f == four {
		return netip.MustParseAddr("127.0.0.1")
	}
	return f.of(m.fabric.Underlay)
}

// table is nft's name of the family's.
func (f family) table() string {
	if f == four {
		return "ip flocker"
	}
	return "ip6 flocker"
}

// settings are where the kernel has the family's.
func (f family) settings() string {
	if f == four {
		return "/proc/sys/net/ipv4/"
	}
	return "/proc/sys/net/ipv6/"
}

// bridgeFilters say whether iptables see bridged frames, as Kubernetes and some settings of Docker have it.
func bridgeFilters(on string) error {
	for _, name := range []string{"iptables", "ip6tables"} {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+name, []byte(on), 0o644)
		if err != nil && (on != "0" || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	return nil
}
