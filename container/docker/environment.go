// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/container"
)

// environment is the application's own and that of its links; the image's stays beneath it.
func environment(spec container.Spec, service netip.Addr) []string {
	var all []string
	for name, value := range spec.Application.Environment {
		all = append(all, name+"="+value)
	}
	for _, link := range linksOf(spec, service) {
		all = append(all, linkEnvironment(link)...)
	}
	slices.Sort(all)
	return all
}

// linksOf leads the application's own links to the service address, where every node answers: a process keeps its environment when it moves.
func linksOf(spec container.Spec, service netip.Addr) []container.Link {
	if len(spec.Links) > 0 {
		return spec.Links
	}
	var links []container.Link
	for _, link := range spec.Application.Links {
		links = append(links, container.Link{Alias: link.Alias, LocalPort: link.LocalPort, RemotePort: link.RemotePort, Address: service})
	}
	return links
}

// linkEnvironment names the other application's port as the original did.
func linkEnvironment(link container.Link) []string {
	base := fmt.Sprintf("%s_PORT_%d_TCP", strings.ToUpper(strings.ReplaceAll(link.Alias, "-", "_")), link.LocalPort)
	return []string{
		fmt.Sprintf("%s=tcp://%s", base, netip.AddrPortFrom(link.Address, uint16(link.RemotePort))),
		fmt.Sprintf("%s_ADDR=%s", base, link.Address),
		fmt.Sprintf("%s_PORT=%d", base, link.RemotePort),
		base + "_PROTO=tcp",
	}
}
