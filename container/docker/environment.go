// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// environment is the application's own and that of its links; the image's stays beneath it.
func environment(a cluster.Application, node netip.Addr) []string {
	var all []string
	for name, value := range a.Environment {
		all = append(all, name+"="+value)
	}
	for _, link := range a.Links {
		all = append(all, linkEnvironment(link, node)...)
	}
	slices.Sort(all)
	return all
}

// linkEnvironment names the other application's port as the original did: on this node, which forwards to wherever it runs.
func linkEnvironment(link cluster.Link, node netip.Addr) []string {
	base := fmt.Sprintf("%s_PORT_%d_TCP", strings.ToUpper(strings.ReplaceAll(link.Alias, "-", "_")), link.LocalPort)
	return []string{
		fmt.Sprintf("%s=tcp://%s", base, netip.AddrPortFrom(node, uint16(link.RemotePort))),
		fmt.Sprintf("%s_ADDR=%s", base, node),
		fmt.Sprintf("%s_PORT=%d", base, link.RemotePort),
		base + "_PROTO=tcp",
	}
}
