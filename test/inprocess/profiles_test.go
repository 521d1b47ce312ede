// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
)

// A dataset is made with its profile, keeps it through moves and clones, and moves only to where there is that profile.
func TestADatasetKeepsItsProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	gold := backend.Profiles{"gold": {}}
	offer := func(n *node, p backend.Profiles) { // as a restart of the agent with another agent.yml
		n.disk.Offer(p)
		n.current().kill()
		n.start()
		w.until("the node has told of its profiles", func() bool {
			all, err := w.user.Nodes(t.Context())
			return err == nil && slices.ContainsFunc(all, func(seen api.NodeInfo) bool {
				return seen.Name == n.name && seen.IsAlive && len(seen.Storage.Profiles) == len(p)
			})
		})
	}
	offer(w.nodes[0], gold)
	made, err := w.user.CreateDataset(t.Context(), api.DatasetRequest{Name: "shop", Node: "node1", Profile: "gold"})
	if err != nil {
		t.Fatal(err)
	}
	w.until("it is made", func() bool { return w.nodes[0].disk.Writable(made.ID) })
	kept := func(n *node) {
		t.Helper()
		if got, err := n.disk.Profile(made.ID); err != nil || got != "gold" {
			t.Errorf("profile on %s = %q, %v; want gold", n.name, got, err)
		}
	}
	kept(w.nodes[0])
	request := api.MoveRequest{Dataset: "shop", Node: "node2"}
	report, err := w.user.Preflight(t.Context(), request)
	if err != nil || report.OK() {
		t.Fatalf("preflight to a node without the profile = %+v, %v; want a refusal", report, err)
	}
	if !slices.ContainsFunc(report.Checks, func(c api.Check) bool {
		return c.Name == "profile" && !c.OK && strings.Contains(c.Problem, `has no profile "gold"`)
	}) {
		t.Errorf("checks = %+v; want that of the profile", report.Checks)
	}
	offer(w.nodes[1], gold)
	m, err := w.user.CreateMove(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	w.until("it has moved", func() bool {
		now, err := w.user.Move(t.Context(), string(m.ID))
		return err == nil && now.Phase.Terminal()
	})
	w.rest()
	kept(w.nodes[1])
}
