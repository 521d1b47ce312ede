// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// standbyWarnings tell why an application that asks to be taken over by itself would not be, if its node died now.
func (w *world) standbyWarnings(a cluster.Application, now time.Time) []string {
	if a.FailOver == nil || a.Deleted || a.Move != "" {
		return nil
	}
	var all []string
	warn := func(format string, args ...any) {
		all = append(all, "would not be taken over by itself: "+fmt.Sprintf(format, args...))
	}
	home := w.observed[a.Node]
	confined := len(a.Volumes) == 0
	for _, id := range a.DatasetIDs() {
		n := w.datasets[id]
		storage := home.Back(n.Backend)
		if storage.Capabilities.Attaches {
			if !storage.Capabilities.Fences {
				warn("the storage of dataset %s, %s, cannot keep a node out that still runs", n.Name, storage.Driver())
			}
			continue
		}
		confined = true
		newest, node := w.newestReplica(n)
		switch age := now.Sub(newest).Round(time.Second); {
		case node == "":
			warn("no other node has a replica of dataset %s; a move there and back leaves one", n.Name)
		case age > a.FailOver.MaxLoss.Std():
			warn("the newest replica of dataset %s, on %s, lacks the last %v, more than max_loss (%v)", n.Name, node, age, a.FailOver.MaxLoss)
		}
	}
	if confined && !slices.Contains(home.Confined, a.Name) {
		warn("%s has not made sure yet that it is unheard without the control service", w.nodes[a.Node].Name)
	}
	return all
}

// newestReplica is when the newest snapshot of a dataset that another living node has was taken, and which; no name where there is none.
func (w *world) newestReplica(n cluster.Dataset) (newest time.Time, node string) {
	for _, id := range sortedKeys(w.observed) {
		c := w.observed[id].Copies[n.ID]
		if id == n.Owner || !w.node(id).Alive() || len(c.Snapshots) == 0 || w.observed[id].Unknown(n.Backend) != "" {
			continue
		}
		if taken := slices.MaxFunc(c.Snapshots, olderThan).Created; node == "" || taken.After(newest) {
			newest, node = taken, w.nodes[id].Name
		}
	}
	return newest, node
}
