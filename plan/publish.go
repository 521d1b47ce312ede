// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/flocker-project/flocker/cluster"

// Publication leads a port of the node to a container.
type Publication struct {
	Application string
	Protocol    string // "tcp" or "udp"
	External    int    // on the node
	Address     string // the container's
	Internal    int    // in the container
}

// Exposure is what a node should publish.
type Exposure struct {
	// Known is false while the node may not act on what it read; then nothing that is published changes.
	Known bool
	// Publications are all that should be, except those of the applications in Leave.
	Publications []Publication
	// Leave names applications whose publications a move's function is deciding on right now; theirs stay as they are.
	Leave map[string]bool
}

// Publications returns what the observed node should publish: the ports of containers
// that run here behind an open gate and are not about to be somewhere else.
func Publications(desired cluster.Desired, observed cluster.Observed) Exposure {
	v := look(desired, observed)
	if v.blind() != "" {
		return Exposure{}
	}
	e := Exposure{Known: true, Leave: map[string]bool{}}
	if v.fenced() {
		return e
	}
	for _, name := range sorted(desired.Applications) {
		a, k := desired.Applications[name], observed.Containers[name]
		if a.Move != "" && observed.Claims[a.Move] {
			e.Leave[name] = true
			continue
		}
		if s, _ := v.stand(a.Move); s != ordinary || a.Deleted || a.Node != v.me {
			continue
		}
		if k.State == cluster.ContainerRunning && k.GateOpen && k.Address != "" {
			e.Publications = append(e.Publications, publish(a, k.Address)...)
		}
	}
	return e
}

func publish(a cluster.Application, address string) []Publication {
	var list []Publication
	for _, p := range a.Ports {
		if p.External == 0 {
			continue
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = "tcp"
		}
		list = append(list, Publication{Application: a.Name, Protocol: protocol, External: p.External, Address: address, Internal: p.Internal})
	}
	return list
}
