// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// halfSeen is a node with a back end near, and a back end far that it cannot look at.
func halfSeen() (cluster.Desired, cluster.Observed) {
	d := cluster.NewDesired()
	d.Complete, d.Session = true, "s1"
	d.Nodes["me"] = cluster.Node{ID: "me", Name: "me", BootID: "b1", Session: "s1", Protocol: 1}
	d.Nodes["other"] = cluster.Node{ID: "other", Name: "other", BootID: "b1", Session: "s2", Protocol: 1}
	d.Elsewhere["other"] = cluster.Observed{Node: "other", Storage: cluster.Storage{Backend: "near", Capabilities: cluster.Capabilities{Replicates: true}}}
	can := cluster.Capabilities{Replicates: true, Snapshots: true}
	return d, cluster.Observed{
		Node: "me", BootID: "b1", Session: "s1", Copies: map[cluster.DatasetID]cluster.Copy{}, Containers: map[string]cluster.Container{},
		Storage: cluster.Storage{Backend: "near", Capabilities: can},
		Further: map[string]cluster.Storage{"far": {Backend: "far", Capabilities: can, Error: "no answer"}},
	}
}

// told is what the node told of a dataset before.
func told(d cluster.Desired, c cluster.Copy) {
	o := d.Elsewhere["me"]
	o.Copies = maps.Clone(o.Copies)
	if o.Copies == nil {
		o.Copies = map[cluster.DatasetID]cluster.Copy{}
	}
	o.Copies[c.Dataset] = c
	d.Elsewhere["me"] = o
}

func using(name string, ids ...cluster.DatasetID) cluster.Application {
	a := cluster.Application{Name: name, Image: "a", Node: "me", Restart: cluster.RestartPolicy{Name: cluster.RestartAlways}}
	for _, id := range ids {
		a.Volumes = append(a.Volumes, cluster.Volume{Dataset: id, MountPoint: "/" + string(id)})
	}
	return a
}

func runs(a cluster.Application) cluster.Container {
	return cluster.Container{Application: a.Name, State: cluster.ContainerRunning, Spec: a.SpecHash(), Datasets: a.DatasetIDs(), GateOpen: true}
}

func moving(phase cluster.MovePhase, from, to cluster.NodeID) func(cluster.Desired, cluster.Observed) {
	return func(d cluster.Desired, _ cluster.Observed) {
		owner := from
		if !phase.BeforeHandOver() {
			owner = to
		}
		d.Datasets["d"] = cluster.Dataset{ID: "d", Owner: owner, Epoch: 2, Backend: "far", Born: true, Move: "m"}
		d.Moves["m"] = cluster.Move{ID: "m", Attempt: 1, Phase: phase, Mode: cluster.ModeRestart, Source: from, Target: to, Datasets: []cluster.DatasetID{"d"}}
	}
}

// Everything that has to do with a back end that cannot be looked at waits and says so: nothing of it is gone, nothing as it was.
func TestWhatCannotBeLookedAtWaits(t *testing.T) {
	mine := cluster.Dataset{ID: "d", Owner: "me", Epoch: 1, Backend: "far", Born: true}
	for what, c := range map[string]struct {
		object string
		set    func(d cluster.Desired, o cluster.Observed)
	}{
		"an owner's copy":     {"dataset/d", func(d cluster.Desired, _ cluster.Observed) { d.Datasets["d"] = mine }},
		"one to be made":      {"dataset/d", func(d cluster.Desired, _ cluster.Observed) { x := mine; x.Born = false; d.Datasets["d"] = x }},
		"one to be destroyed": {"dataset/d", func(d cluster.Desired, _ cluster.Observed) { x := mine; x.Deleted = true; d.Datasets["d"] = x }},
		"a replica that was told of": {"dataset/d", func(d cluster.Desired, _ cluster.Observed) {
			x := mine
			x.Owner, x.Deleted = "other", true
			d.Datasets["d"] = x
			told(d, cluster.Copy{Dataset: "d", Backend: "far", Snapshots: []cluster.Snapshot{{Name: "s"}}})
		}},
		"one that was told of in it, and is seen in another": {"dataset/d", func(d cluster.Desired, o cluster.Observed) {
			x := mine
			x.Backend = "near"
			d.Datasets["d"] = x
			told(d, cluster.Copy{Dataset: "d", Backend: "far", Head: true, Epoch: 1})
			o.Copies["d"] = cluster.Copy{Dataset: "d", Backend: "near", Head: true, Epoch: 1}
		}},
		"an application that was deleted": {"application/db", func(d cluster.Desired, o cluster.Observed) {
			d.Datasets["d"] = mine
			a := using("db", "d")
			o.Containers["db"] = runs(a)
			a.Deleted = true
			d.Applications["db"] = a
		}},
		"an application that belongs elsewhere": {"application/db", func(d cluster.Desired, o cluster.Observed) {
			x := mine
			x.Owner = "other"
			d.Datasets["d"] = x
			a := using("db", "d")
			o.Containers["db"] = runs(a)
			a.Node = "other"
			d.Applications["db"] = a
		}},
		"an application that was made with it": {"application/db", func(d cluster.Desired, o cluster.Observed) {
			d.Datasets["d"] = mine
			o.Containers["db"] = runs(using("db", "d"))
			d.Applications["db"] = using("db")
		}},
		"a move to be carried out": {"move/m", moving(cluster.MovePlanned, "me", "other")},
		"a move to be aborted":     {"move/m", moving(cluster.MoveCutting, "me", "other")},
		"a move to be taken back": {"move/m", func(d cluster.Desired, o cluster.Observed) {
			moving(cluster.MoveHandedOver, "me", "other")(d, o)
			n := d.Nodes["other"]
			n.Session = ""
			d.Nodes["other"] = n
		}},
		"a move to be cleaned": {"move/m", moving(cluster.MoveCommitted, "me", "other")},
		"a move to be resumed": {"move/m", moving(cluster.MoveHandedOver, "other", "me")},
	} {
		d, o := halfSeen()
		c.set(d, o)
		// Beside it there is work in what can be seen.
		d.Datasets["n"] = cluster.Dataset{ID: "n", Owner: "me", Epoch: 1}
		d.Applications["web"] = using("web", "n")
		var reason string
		did := map[string]bool{}
		for _, s := range plan.Next(d, o) {
			if w, waits := s.(plan.Wait); waits && w.About == c.object {
				reason = w.Reason
			} else if !waits {
				did[s.Kind()] = true
			}
		}
		if !strings.Contains(reason, "cannot be looked at: no answer") {
			t.Errorf("%s: waits for %q; want that its back end cannot be looked at", what, reason)
		}
		if len(did) != 2 || !did["create-volume"] || !did["create-container"] {
			t.Errorf("%s: does %v; want what is to be done elsewhere", what, slices.Sorted(maps.Keys(did)))
		}
	}
}

// A function of a move does nothing there either, but stops what runs and gives up what it is at.
func TestNothingIsPermittedInTheDark(t *testing.T) {
	d, o := halfSeen()
	moving(cluster.MoveCutting, "me", "other")(d, o)
	a := using("db", "d")
	a.Move = "m"
	d.Applications["db"] = a
	d.Datasets["new"] = cluster.Dataset{ID: "new", Owner: "me", Epoch: 1, Backend: "far"}
	d.Datasets["old"] = cluster.Dataset{ID: "old", Owner: "me", Epoch: 1, Backend: "far", Born: true, Deleted: true}
	abort := plan.AbortMove{Move: "m", Attempt: 1}
	for step, may := range map[plan.Step]bool{
		plan.Unmount{Dataset: "d"}:                                  false,
		plan.CreateVolume{Dataset: "new", Backend: "far", Epoch: 1}: false,
		plan.DestroyCopy{Dataset: "old"}:                            false,
		plan.StopContainer{Application: "db"}:                       true,
		abort:                                                       true,
	} {
		if got := plan.Permit(d, o, step); got != may {
			t.Errorf("Permit of %s %+v = %t; want %t", step.Kind(), step, got, may)
		}
	}
	seen := o
	seen.Further = map[string]cluster.Storage{"far": {Backend: "far", Capabilities: cluster.Capabilities{Replicates: true}}}
	for _, step := range []plan.Step{plan.Unmount{Dataset: "d"}, plan.CreateVolume{Dataset: "new", Backend: "far", Epoch: 1}, plan.DestroyCopy{Dataset: "old"}} {
		if !plan.Permit(d, seen, step) {
			t.Errorf("%s %+v is not permitted where all is seen", step.Kind(), step)
		}
	}
}

// What another node cannot look at counts as it last told it; of one that never could nothing is known, and nothing is pruned.
func TestSnapshotsStayUntilEveryNodeHasLookedOnce(t *testing.T) {
	d, o := halfSeen()
	d.Datasets["d"] = cluster.Dataset{ID: "d", Owner: "me", Epoch: 1, Backend: "near", Born: true}
	o.Copies["d"] = cluster.Copy{Dataset: "d", Backend: "near", Head: true, Epoch: 1, Mounted: "/flocker/d", Snapshots: []cluster.Snapshot{
		{Name: "s1", ID: "s1", Epoch: 1, Serial: 1}, {Name: "s2", ID: "s2", Epoch: 1, Serial: 2}, {Name: "s3", ID: "s3", Epoch: 1, Serial: 3},
	}}
	pruned := func(other cluster.Storage, theirs ...cluster.Snapshot) (names []string) {
		d.Elsewhere["other"] = cluster.Observed{Node: "other", Storage: other, Copies: map[cluster.DatasetID]cluster.Copy{"d": {Dataset: "d", Snapshots: theirs}}}
		for _, s := range plan.Next(d, o) {
			if p, is := s.(plan.PruneSnapshot); is {
				names = append(names, p.Snapshot)
			}
		}
		return names
	}
	if got := pruned(cluster.Storage{Backend: "near", Error: "no answer"}); got != nil {
		t.Errorf("%v is pruned before the other node has ever looked", got)
	}
	looked := cluster.Storage{Backend: "near", Capabilities: cluster.Capabilities{Replicates: true}, Error: "no answer"}
	if got := pruned(looked, cluster.Snapshot{Name: "s1", ID: "s1", Epoch: 1, Serial: 1}); !slices.Equal(got, []string{"s2"}) {
		t.Errorf("%v is pruned; want what the other node did not have when it last told", got)
	}
}
