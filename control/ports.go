// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// usedPorts is who listens on the ports of the nodes that are alive, by "5432/tcp", as their agents saw it last.
type usedPorts map[cluster.NodeID]map[string]string

// usedPorts reads the reports beside any transaction: they advise, and no deployment has to begin again for a report that
// comes in meanwhile.
func (s *Service) usedPorts(ctx context.Context) (usedPorts, error) {
	used := usedPorts{}
	_, err := s.store.Read(ctx, func(tx *store.Tx) error {
		alive, err := store.List(ctx, tx, store.Sessions)
		if err != nil {
			return err
		}
		for _, r := range alive {
			id := cluster.NodeID(r.Name)
			o, err := store.Get(ctx, tx, store.ObservedNode(id))
			if ignoreNotFound(err) != nil {
				return err
			}
			used[id] = o.Ports
		}
		return nil
	})
	return used, err
}

// who tells who listens on a port and where; it is empty where nobody does.
func (u usedPorts) who(published string, nodes map[cluster.NodeID]cluster.Node) (text, remedy string) {
	const shown = 3
	var all []string
	remedy = "stop that process or choose another external port"
	for _, id := range sortedKeys(u) {
		who := u[id][published]
		switch {
		case who == "":
			continue
		case len(all) == 0:
			text = fmt.Sprintf("%s listens on it on %s", who, nodes[id].Name)
			if strings.HasPrefix(who, "container ") {
				remedy = "stop that container or choose another external port"
			}
		case len(all) < shown:
			text += fmt.Sprintf(", %s on %s", who, nodes[id].Name)
		}
		all = append(all, who)
	}
	if more := len(all) - shown; more > 0 {
		text += fmt.Sprintf(", and others on %d more nodes", more)
	}
	return text, remedy
}

// checkPorts finds ports of the application that lead elsewhere already: each answers on every node, and leads to one
// application. What it has published before stays, whoever began to listen there since.
func (d *draft) checkPorts(a cluster.Application) error {
	var problems []error
	had := map[string]bool{}
	if former := d.former[a.Name]; !former.Deleted {
		for _, p := range former.Ports {
			had[p.Published()] = true
		}
	}
	for _, p := range a.Ports {
		published := p.Published()
		if published == "" {
			continue
		}
		problem, remedy := d.publisher(a, published)
		if problem == "" && !had[published] {
			problem, remedy = d.listener(published)
		}
		if problem != "" {
			problems = append(problems, fmt.Errorf("port %s of application %s: %s; %s: %w", published, a.Name, problem, remedy, cluster.ErrConflict))
		}
	}
	return errors.Join(problems...)
}

// publisher finds another application that has the port; one that is being removed has it until nothing of it is left.
func (d *draft) publisher(a cluster.Application, published string) (problem, remedy string) {
	for _, name := range sortedKeys(d.applications) {
		other := d.applications[name]
		if name == a.Name {
			continue
		}
		for _, p := range other.Ports {
			switch {
			case p.Published() != published:
			case other.Deleted:
				return fmt.Sprintf("application %s, which is being removed from node %s, has it still", name, d.nodes[other.Node].Name),
					"wait until that is gone (see flocker status), or choose another external port"
			default:
				return fmt.Sprintf("application %s publishes it on every node", name), "choose another external port for one of them"
			}
		}
	}
	return "", ""
}

// listener finds who uses the port on a node: its agent, which need not have the usual port, or what the agents saw.
func (d *draft) listener(published string) (problem, remedy string) {
	for _, id := range sortedKeys(d.nodes) {
		_, port, err := net.SplitHostPort(d.nodes[id].AgentAddress)
		if err == nil && port+"/tcp" == published {
			return fmt.Sprintf("Flocker's agent listens on it on %s", d.nodes[id].Name), "choose another external port"
		}
	}
	return d.used.who(published, d.nodes)
}

// portWarnings tell of what began to listen on the application's ports since it was deployed. Nothing waits for it.
func (w *world) portWarnings(a cluster.Application) []string {
	if a.Deleted {
		return nil
	}
	used := usedPorts{}
	for id, o := range w.observed {
		if w.node(id).Alive() {
			used[id] = o.Ports
		}
	}
	var all []string
	for _, p := range a.Ports {
		if who, remedy := used.who(p.Published(), w.nodes); who != "" {
			all = append(all, fmt.Sprintf("port %s: %s too, but clients reach the application; %s", p.Published(), who, remedy))
		}
	}
	return all
}

// portChecks are what a move's preflight says of the nodes but its target, which looks itself. They warn, for such a port
// does not answer any better where the application stays.
func (u usedPorts) portChecks(m cluster.Move, d *draft) []api.Check {
	var all []api.Check
	for _, name := range m.Applications {
		for _, p := range d.applications[name].Ports {
			for _, id := range sortedKeys(u) {
				problem, remedy := usedPorts{id: u[id]}.who(p.Published(), d.nodes)
				if problem != "" && id != m.Target {
					object := p.Published() + " of application " + name
					all = append(all, api.Check{Name: "port", Object: object, OK: true, Problem: problem, Remedy: remedy, Node: d.nodes[id].Name})
				}
			}
		}
	}
	return all
}
