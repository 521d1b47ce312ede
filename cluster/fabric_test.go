// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestASubnetIsCanonicalPrivateAndOfAUsefulSize(t *testing.T) {
	for _, text := range []string{cluster.DefaultSubnet, "10.0.0.0/8", "192.168.7.0/24", "172.16.0.0/12", "100.64.0.0/10"} {
		if got, err := cluster.ParseSubnet(text); err != nil || got.String() != text {
			t.Errorf("ParseSubnet(%q) = %s, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"":                  "such as 10.144.0.0/16",
		"10.144.0.0":        "is not a subnet",
		"ten":               "is not a subnet",
		"fd00::/64":         "is not IPv4",
		"::ffff:10.0.0.0/8": "",
		"10.0.0.0/7":        "prefix of 7 bits; want an IPv4 subnet from /8 to /24",
		"10.144.0.0/25":     "prefix of 25 bits",
		"10.144.3.0/16":     "write 10.144.0.0/16",
		"10.144.0.1/24":     "write 10.144.0.0/24",
		"127.1.0.0/16":      "loopback",
		"169.254.7.0/24":    "link-local",
		"168.0.0.0/8":       "",
		"169.0.0.0/8":       "link-local",
		"239.1.0.0/16":      "multicast",
		"240.0.0.0/8":       "reserved",
		"0.0.0.0/8":         "without an address",
	} {
		_, err := cluster.ParseSubnet(text)
		if text == "168.0.0.0/8" { // nobody's private range, and still a possible one
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseSubnet(%q) = %v; want it refused, saying %q", text, err, says)
		}
	}
}

func TestTheServiceAddressIsTheFirstOfTheSubnet(t *testing.T) {
	if got := (cluster.Fabric{Subnet: "10.144.0.0/16"}).Service(); got != netip.MustParseAddr("10.144.0.1") {
		t.Errorf("Service() = %s", got)
	}
	if got := (cluster.Fabric{}).Service(); got.IsValid() {
		t.Errorf("without a subnet Service() = %s", got)
	}
	for subnet, last := range map[string]string{"10.0.0.0/8": "10.255.255.255", "10.144.0.0/16": "10.144.255.255", "192.168.7.0/24": "192.168.7.255"} {
		if got := cluster.LastAddress(netip.MustParsePrefix(subnet)); got.String() != last {
			t.Errorf("LastAddress(%s) = %s; want %s", subnet, got, last)
		}
	}
}

func TestAnAddressHasOneMAC(t *testing.T) {
	if got := cluster.MACOf(netip.MustParseAddr("10.144.0.171")); got != "02:f1:0a:90:00:ab" {
		t.Errorf("MACOf() = %s", got)
	}
	for _, none := range []netip.Addr{{}, netip.MustParseAddr("fd00::1")} {
		if got := cluster.MACOf(none); got != "" {
			t.Errorf("MACOf(%s) = %q; want none", none, got)
		}
	}
}

func TestAContainerIsMadeFromItsAddress(t *testing.T) {
	a := good()
	was := a.SpecHash()
	if a.Address = "10.144.0.2"; a.SpecHash() == was {
		t.Error("an application with another address needs a new container, and its hash says that it does not")
	}
	b, err := json.Marshal(cluster.NewDesired())
	if err != nil || strings.Contains(string(b), "fabric") {
		t.Errorf("a state without a fabric shows one: %s, %v", b, err)
	}
}
