// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
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
	why := ""
	w.until("everything comes to rest", func() bool {
		var err error
		if status, err = w.user.Status(w.t.Context()); err != nil {
			return false
		}
		why = w.unrest(status)
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
	}
	return ""
}

// check compares the machines with what clients and the store know.
func (w *world) check(s api.Status) {
	w.t.Helper()
	w.ledger.mu.Lock()
	for _, b := range w.ledger.broken {
		w.t.Error("never: " + b)
	}
	w.ledger.mu.Unlock()
	for _, a := range s.Applications {
		for _, n := range w.nodes {
			if home := n.id == a.Node; n.heard(a.Name) != home {
				w.t.Errorf("application %s is heard on %s: %t; the store has it on %s", a.Name, n.name, !home, a.NodeName)
			}
			if _, here := n.found(a.Name); here != (n.id == a.Node) {
				w.t.Errorf("application %s has a container on %s: %t", a.Name, n.name, here)
			}
		}
	}
	for _, d := range s.Datasets {
		for _, n := range w.nodes {
			acked := map[string][]int{} // before the look at the data
			for _, app := range d.UsedBy {
				acked[app] = w.ledger.answers(app)
			}
			files, err := n.disk.Files(d.ID)
			if head := err == nil; head != (n.id == d.Owner) {
				w.t.Errorf("dataset %s has a head on %s: %t", d.Name, n.name, head)
			}
			if n.id != d.Owner {
				continue
			}
			for _, app := range d.UsedBy {
				for _, complaint := range complaints(app, acked[app], string(files[journal])) {
					w.t.Errorf("dataset %s: %s", d.Name, complaint)
				}
			}
		}
	}
	for _, n := range w.nodes {
		if noted, err := n.notes(); err != nil || len(noted) > 0 {
			w.t.Errorf("%s: notes of hand-overs are left: %v %v", n.name, noted, err)
		}
	}
}
