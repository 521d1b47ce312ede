// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// lookAtTruth looks for promise 1, in what is and not in what is reported: no application runs behind an open gate on two
// nodes. It is called after everything that an agent does.
func (w *world) lookAtTruth() {
	w.mu.Lock()
	apps := make([]string, 0, len(w.ports))
	for app := range w.ports {
		apps = append(apps, app)
	}
	w.mu.Unlock()
	for _, app := range apps {
		var open []string
		for _, n := range w.nodes {
			if n.open(app) {
				open = append(open, n.name)
			}
		}
		if len(open) < 2 {
			continue
		}
		// The look itself took a while: both count only where the first is still open after the last was.
		for _, n := range slices.Backward(w.nodes) {
			if !n.open(app) {
				open = slices.DeleteFunc(open, func(name string) bool { return name == n.name })
			}
		}
		if len(open) > 1 {
			w.ledger.never("application %s runs behind open gates on %s", app, strings.Join(open, " and "))
		}
	}
}

// rest waits until everything is as it should be and nothing is left to do, and then checks the promises.
func (w *world) rest() {
	w.t.Helper()
	var status api.Status
	last := "?"
	w.until("everything comes to rest", func() bool {
		var err error
		if status, err = w.user.Status(w.t.Context()); err != nil {
			return false
		}
		why := w.unrest(status)
		if why != last {
			w.log.of("test").Info("unrest", "why", why)
			last = why
		}
		return why == ""
	})
	for _, a := range status.Applications {
		w.served(a.Name)
	}
	w.check(status)
}

// unrest says what is not at rest.
func (w *world) unrest(s api.Status) string {
	if len(s.Moves) > 0 {
		return "moves are under way"
	}
	for _, p := range s.Pending {
		return p.Object + " is pending: " + p.Reason
	}
	for _, n := range s.Nodes {
		if !n.IsAlive {
			return n.Name + " is not alive"
		}
	}
	for _, a := range s.Applications {
		k := a.Container
		if k == nil || k.State != cluster.ContainerRunning || !k.GateOpen || !k.Ready || len(a.Elsewhere) > 0 {
			return a.Name + " does not serve at one place"
		}
		if len(a.Former) > 0 {
			return a.Name + " is kept from nodes that are back"
		}
	}
	return w.leftovers(s)
}

// check compares the machines with what clients and the store know.
func (w *world) check(s api.Status) {
	w.t.Helper()
	w.ledger.mu.Lock()
	for _, b := range w.ledger.broken {
		w.t.Error("never: " + b)
	}
	w.ledger.mu.Unlock()
	for _, d := range s.Datasets {
		owner := w.node(d.Owner)
		for _, app := range d.UsedBy {
			acked := w.ledger.answers(app) // before the look at the data
			files, err := owner.diskOf(d.ID).Files(d.ID)
			if err != nil {
				w.t.Errorf("dataset %s on its owner %s: %v", d.Name, owner.name, err)
			}
			for _, complaint := range complaints(app, acked, string(files[journal])) {
				w.t.Errorf("dataset %s: %s", d.Name, complaint)
			}
		}
	}
}

// leftovers says what is on the machines and should not be, or the other way round, whatever was reported.
func (w *world) leftovers(s api.Status) string {
	for _, n := range w.nodes {
		for _, a := range s.Applications {
			home := n.id == a.Node
			if _, here := n.found(a.Name); here != home || n.heard(a.Name) != home {
				return fmt.Sprintf("application %s on %s: container %t, heard %t", a.Name, n.name, here, n.heard(a.Name))
			}
		}
		for _, d := range s.Datasets {
			if c, _ := n.copyOf(d.ID); c.Head != (n.id == d.Owner) || c.Scratch != "" {
				return fmt.Sprintf("dataset %s on %s: %+v", d.Name, n.name, c)
			}
		}
		if fixed := n.net.Pinned(); len(fixed) > 0 {
			return fmt.Sprintf("%s has the places of %v fixed", n.name, fixed)
		}
		if noted, err := n.notes(); err != nil || len(noted) > 0 {
			return fmt.Sprintf("%s has notes of hand-overs: %v %v", n.name, noted, err)
		}
	}
	return ""
}

func (w *world) node(id cluster.NodeID) *node {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.id == id })
	return w.nodes[i]
}
