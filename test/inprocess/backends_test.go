// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// An application with datasets in two back ends moves with both: one is copied, the other attached where it runs.
func TestMoveWithDatasetsInTwoBackEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.deployIn("db", w.nodes[0], []string{"", "shared"}, nil)
	w.rest()
	ends := func() []string {
		t.Helper()
		var list []string
		for _, name := range []string{"db-0", "db-1"} {
			d, err := w.user.Dataset(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, d.Backend)
		}
		return list
	}
	for _, to := range []*node{w.nodes[1], w.nodes[0]} {
		if m := w.move("db", to); m.Phase != cluster.MoveCleaned {
			t.Fatalf("the move to %s ended as %s: %s", to.name, m.Phase, m.Reason)
		}
		w.rest()
		if got := strings.Join(ends(), " "); got != "mem shared" {
			t.Errorf("back ends on %s = %s; want those of before", to.name, got)
		}
		if !to.shared.Disk().Writable(w.dataset("db-1")) || !to.disk.Writable(w.dataset("db-0")) {
			t.Errorf("the datasets are not mounted on %s, each from its back end", to.name)
		}
	}
	// The source keeps a replica of what was copied, and nothing of what was attached.
	if c, _ := w.nodes[1].copyOf(w.dataset("db-0")); len(c.Snapshots) == 0 {
		t.Error("the source has no replica of the dataset that was copied")
	}
	if c, there := w.nodes[1].copyOf(w.dataset("db-1")); there {
		t.Errorf("the source still has the volume: %+v", c)
	}
}

// A target whose container does not come up gives both datasets back.
func TestDatasetsInTwoBackEndsAreGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.deployIn("db", w.nodes[0], []string{"", "shared"}, nil)
	w.rest()
	w.nodes[1].make("db", ends)
	if m := w.move("db", w.nodes[1]); m.Phase != cluster.MoveAborted && m.Phase != cluster.MoveTakenBack {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	w.nodes[1].make("db", well)
	w.rest()
	if !w.nodes[0].heard("db") || !w.nodes[0].shared.Disk().Writable(w.dataset("db-1")) {
		t.Error("the source does not serve again with both datasets")
	}
}

// A back end that the node does not have is refused by name, and one that a dataset is not in.
func TestBackEndsThatThereAreNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	_, err := w.user.CreateDataset(t.Context(), api.DatasetRequest{Name: "x", Node: "node1", Backend: "tape"})
	if !errors.Is(err, cluster.ErrPrecondition) || !strings.Contains(err.Error(), `no back end "tape": there are mem, shared`) {
		t.Errorf("CreateDataset in a back end that there is not: %v", err)
	}
	w.deployIn("db", w.nodes[0], []string{"shared"}, nil)
	w.rest()
	r := api.DeployRequest{Datasets: []cluster.Dataset{{Name: "db-0", Backend: "mem"}}}
	if _, err := w.user.Deploy(t.Context(), r); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "is in back end shared") {
		t.Errorf("Deploy of a dataset in another back end: %v", err)
	}
	nodes, err := w.user.Nodes(t.Context())
	if err != nil || len(nodes[0].Storages()) != 2 || nodes[0].Further["shared"].Kind != "shelf" || !nodes[0].Further["shared"].Capabilities.Attaches {
		t.Errorf("Nodes = %+v, %v; want both back ends", nodes, err)
	}
}
