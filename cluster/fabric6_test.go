// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestAnIPv6SubnetIsCanonicalAndOfHosts(t *testing.T) {
	for _, text := range []string{"fd00::/64", "fd6e:2f1c:8a47::/64", "fc00:1:2:3::/64", "2001:db8:0:7::/64", "3fff::/64"} {
		if got, err := cluster.ParseSubnet6(text); err != nil || got.String() != text {
			t.Errorf("ParseSubnet6(%q) = %s, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"":                     "such as fd",
		"fd00::":               "is not a subnet",
		"fd00::%eth0/64":       "is not a subnet",
		"none":                 "is not a subnet",
		"10.144.0.0/16":        "is not IPv6",
		"::ffff:10.0.0.0/104":  "is not IPv6",
		"fd00::/48":            "prefix of 48 bits; want an IPv6 subnet of /64",
		"fd00::/65":            "prefix of 65 bits",
		"fd00::1/64":           "write fd00::/64",
		"fd00:0:0:0::/64":      "write fd00::/64",
		"FD00::/64":            "write fd00::/64",
		"fe80::/64":            "neither of fc00::/7 nor of 2000::/3",
		"fec0::/64":            "neither",
		"ff02::/64":            "neither",
		"::/64":                "neither",
		"4000::/64":            "neither",
		"64:ff9b::/64":         "neither",
		"fd00:0000::/64":       "write fd00::/64",
		"2001:db8::7:0:0:0/64": "write 2001:db8::/64",
	} {
		_, err := cluster.ParseSubnet6(text)
		field, ok := errors.AsType[*cluster.FieldError](err)
		if !ok || field.Field != "subnet6" || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseSubnet6(%q) = %v; want it refused, saying %q", text, err, says)
		}
	}
}

func TestAClusterGetsTheIPv6SubnetThatWasAskedForElseItsOwn(t *testing.T) {
	own := cluster.OwnSubnet6("a").String()
	for asked, want := range map[string]string{"": own, "auto": own, "none": "", "fd00:7::/64": "fd00:7::/64"} {
		if got, err := cluster.ChooseSubnet6(asked, "a"); err != nil || got != want {
			t.Errorf("ChooseSubnet6(%q) = %q, %v; want %q", asked, got, err, want)
		}
	}
	if _, err := cluster.ChooseSubnet6("fd00::/48", "a"); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("a wrong one: %v", err)
	}
	if got, err := cluster.ParseSubnet6(own); err != nil || got.Addr().As16()[0] != 0xfd || got.Addr().As16()[6] != 0 || got.Addr().As16()[7] != 0 {
		t.Errorf("a cluster's own subnet is %s, %v; want one of fd00::/8 whose subnet ID is 0", own, err)
	}
	if cluster.OwnSubnet6("b").String() == own {
		t.Error("two clusters have the same subnet")
	}
}

func TestAnIPv6AddressGoesWithEachAddress(t *testing.T) {
	subnet := netip.MustParsePrefix("fd00:1:2::/64")
	if got := cluster.Address6(subnet, netip.MustParseAddr("10.144.0.171")).String(); got != "fd00:1:2::a90:ab" {
		t.Errorf("Address6() = %s", got)
	}
	for what, got := range map[string]netip.Addr{
		"without a subnet":    cluster.Address6(netip.Prefix{}, netip.MustParseAddr("10.144.0.1")),
		"without an address":  cluster.Address6(subnet, netip.Addr{}),
		"of an IPv6 address":  cluster.Address6(subnet, netip.MustParseAddr("fd00::1")),
		"of the zero Fabric":  cluster.Address6(cluster.Fabric{}.Prefix6(), netip.MustParseAddr("10.144.0.1")),
		"of a broken Subnet6": cluster.Address6(cluster.Fabric{Subnet6: "fd00::/48"}.Prefix6(), netip.MustParseAddr("10.144.0.1")),
	} {
		if got.IsValid() {
			t.Errorf("Address6() %s = %s; want none", what, got)
		}
	}
	if got := (cluster.Fabric{Subnet6: "fd00::/64"}).Prefix6().String(); got != "fd00::/64" {
		t.Errorf("Prefix6() = %s", got)
	}
}
