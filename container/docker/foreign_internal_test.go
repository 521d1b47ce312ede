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

// A volume of ours has no folder in Docker's list, and that of another driver's is not ours to know.
func TestDataOfOtherContainers(t *testing.T) {
	sources, volumes := dataOf(dockercontainer.Summary{Mounts: []dockercontainer.MountPoint{
		{Type: "bind", Source: "/srv"},
		{Type: "volume", Name: "db", Driver: "flocker"},
		{Type: "volume", Name: "bound", Driver: "local", Source: "/var/lib/docker/volumes/bound/_data"},
		{Type: "volume", Name: "own", Driver: "local", Source: "/var/lib/docker/volumes/own/_data"},
		{Type: "volume", Name: "bound", Driver: "theirs"},
		{Type: "tmpfs"},
	}}, map[string]string{"bound": "/flocker/x"})
	if diff := cmp.Diff([]string{"/srv", "/flocker/x"}, sources); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"db"}, volumes); diff != "" {
		t.Error(diff)
	}
}
