// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

func TestLinksOfTheSpecificationLeadToTheirAddresses(t *testing.T) {
	service := netip.MustParseAddr("10.144.0.1")
	a := cluster.Application{Environment: map[string]string{"OWN": "1"}, Links: []cluster.Link{{Alias: "db", LocalPort: 5432, RemotePort: 15432}}}
	of := func(address string) []string {
		return []string{
			"DB_PORT_5432_TCP=tcp://" + address + ":15432", "DB_PORT_5432_TCP_ADDR=" + address,
			"DB_PORT_5432_TCP_PORT=15432", "DB_PORT_5432_TCP_PROTO=tcp", "OWN=1",
		}
	}
	if diff := cmp.Diff(of("10.144.0.1"), environment(container.Spec{Application: a}, service)); diff != "" {
		t.Errorf("an application's own links lead to the service address:\n%s", diff)
	}
	spec := container.Spec{Application: a, Links: []container.Link{{Alias: "db", LocalPort: 5432, RemotePort: 15432, Address: netip.MustParseAddr("10.144.0.9")}}}
	if diff := cmp.Diff(of("10.144.0.9"), environment(spec, service)); diff != "" {
		t.Errorf("links of the specification replace them:\n%s", diff)
	}
}
