// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	dockercontainer "github.com/moby/moby/api/types/container"

	"github.com/flocker-project/flocker/cluster"
)

// A port that is only exposed leads nowhere; one that is published on several addresses of the host is one.
func TestPublishedPortsOfOtherContainers(t *testing.T) {
	got := publishedPorts(dockercontainer.Summary{Ports: []dockercontainer.PortSummary{
		{IP: netip.IPv4Unspecified(), PrivatePort: 80, PublicPort: 8080, Type: "tcp"},
		{IP: netip.IPv6Unspecified(), PrivatePort: 80, PublicPort: 8080, Type: "tcp"},
		{PrivatePort: 443, Type: "tcp"},
		{IP: netip.IPv4Unspecified(), PrivatePort: 53, PublicPort: 53, Type: "udp"},
	}})
	want := []cluster.Port{{Internal: 80, External: 8080, Protocol: "tcp"}, {Internal: 53, External: 53, Protocol: "udp"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
