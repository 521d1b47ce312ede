// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/flocker-project/flocker/cluster"

// Publication leads a port of every node to an application, wherever it runs.
type Publication struct {
	Application string
	Protocol    string // "tcp" or "udp"
	External    int    // on the node
	Address     string // the application's, for life
	Internal    int    // in the container
}

// Exposure is what a node should lead where, and who should be heard from it.
type Exposure struct {
	// Known is false while the node may not act on what it read; then nothing changes.
	Known bool
	// Publications are those of all applications of the cluster: a move changes none of them.
	Publications []Publication
	// Here are the addresses of the applications that should be heard from this node, except those in Leave.
	Here map[string]string
	// Dead are the addresses of applications whose nodes have no session, except those that a move decides on.
	Dead map[string]string
	// Leave are the addresses that a move's function is deciding on right now; they stay as they are.
	Leave map[string]string
}

// Publications returns what the observed node should publish, and whose addresses are here: those of containers behind an
// open gate on this node that are not about to be somewhere else. One that has stopped is among them: its clients are
// refused by its namespace at once, where an address that nobody has would keep them waiting.
func Publications(desired cluster.Desired, observed cluster.Observed) Exposure {
	v := look(desired, observed)
	if v.blind() != "" {
		return Exposure{}
	}
	e := Exposure{Known: true, Here: map[string]string{}, Leave: map[string]string{}, Dead: map[string]string{}}
	for _, name := range sorted(desired.Applications) {
		a, k := desired.Applications[name], observed.Containers[name]
		if a.Address == "" {
			continue
		}
		if !a.Deleted {
			e.Publications = append(e.Publications, publish(a)...)
			if a.Move == "" && a.Node != v.me && !desired.Nodes[a.Node].Alive() {
				e.Dead[name] = a.Address
			}
		}
		if v.fenced() {
			continue
		}
		if a.Move != "" && observed.Claims[a.Move] {
			e.Leave[name] = a.Address
			continue
		}
		if s, _ := v.stand(a.Move); s != ordinary || a.Deleted || a.Node != v.me {
			continue
		}
		if k.GateOpen {
			e.Here[name] = a.Address
		}
	}
	return e
}

func publish(a cluster.Application) []Publication {
	var list []Publication
	for _, p := range a.Ports {
		if p.External == 0 {
			continue
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = "tcp"
		}
		list = append(list, Publication{Application: a.Name, Protocol: protocol, External: p.External, Address: a.Address, Internal: p.Internal})
	}
	return list
}
