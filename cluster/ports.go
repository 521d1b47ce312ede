// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"fmt"
)

// PublishedPort names a port of the nodes, such as "5432/tcp"; without a protocol it is one of TCP.
func PublishedPort(number int, protocol string) string {
	return fmt.Sprintf("%d/%s", number, cmp.Or(protocol, "tcp"))
}

// Published names the port of the nodes that leads to this one; it is empty where none does.
func (p Port) Published() string {
	if p.External == 0 {
		return ""
	}
	return PublishedPort(p.External, p.Protocol)
}

// ReservedFor says what a port of the nodes is kept for; it is empty for one that applications may have. A published port
// answers on every node in place of what listens there, so that some would cut off the way into the nodes.
func ReservedFor(published string) string {
	switch published {
	case "22/tcp":
		return "SSH, the way into every node"
	case "2375/tcp", "2376/tcp":
		return "Docker's API"
	case "2377/tcp", "7946/tcp", "7946/udp":
		return "the nodes of a Docker swarm"
	case "4523/tcp", "4524/tcp":
		return "Flocker's control service"
	case "4525/tcp":
		return "Flocker's agents"
	case "4789/udp":
		return "the network between the nodes (VXLAN)"
	}
	return ""
}

func (a Application) validatePorts(p *problems) {
	seen := map[string]int{}
	for i, port := range a.Ports {
		field := fmt.Sprintf("ports[%d].", i)
		if protocol := cmp.Or(port.Protocol, "tcp"); protocol != "tcp" && protocol != "udp" {
			p.add(field+"protocol", "%.40q is neither tcp nor udp", port.Protocol)
		}
		p.port(field+"internal", port.Internal)
		published := port.Published()
		if published == "" {
			continue
		}
		p.port(field+"external", port.External)
		if use := ReservedFor(published); use != "" {
			p.add(field+"external", "%s is kept for %s; choose another external port", published, use)
		}
		if first, twice := seen[published]; twice {
			p.add(field+"external", "%s is published by ports[%d] already; choose another external port for one of them", published, first)
			continue
		}
		seen[published] = i
	}
}
