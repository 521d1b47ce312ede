// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// TestAnythingGivesAtMostOnePermittedStepForEachObject is predicates I8 and I15 on states that need make no sense.
func TestAnythingGivesAtMostOnePermittedStepForEachObject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := anything(t)
		seen := map[string]bool{}
		for _, s := range plan.Next(d, o) {
			if seen[s.Object()] {
				t.Fatalf("two steps for %s", s.Object())
			}
			seen[s.Object()] = true
			if w, ok := s.(plan.Wait); ok && w.Reason == "" {
				t.Fatalf("Wait for %s without a reason", s.Object())
			}
			if !plan.Permit(d, o, s) {
				t.Fatalf("Next gives %s %+v, which is not permitted", s.Kind(), s)
			}
			writable(t, d, o, s)
			dark(t, d, o, s)
			alone(t, d, o, s)
			keeping(t, d, o, s)
			half(t, d, o, s)
		}
	})
}

// keeping is that what somebody asked to keep is pruned by nobody, and that what is taken to be kept is of the owner's
// own head, outside moves, with a lineage of its own.
func keeping(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.Step) {
	switch s := s.(type) {
	case plan.PruneSnapshot:
		for _, k := range d.Datasets[s.Dataset].Snapshots {
			if k.Taken != nil && k.Taken.Name == s.Snapshot && !k.Removed {
				t.Fatalf("%+v prunes what %+v keeps", s, k)
			}
		}
	case plan.CreateVolume:
		if d.Datasets[s.Dataset].Origin != nil {
			t.Fatalf("%+v makes a clone empty", s)
		}
	case plan.CloneVolume:
		x := d.Datasets[s.Dataset]
		k, _ := d.Datasets[s.From].Kept(x.Origin.Snapshot)
		store := o.Back(x.Backend).Capabilities.Attaches // which every node reaches
		if x.Born || x.Owner != o.Node || k.Taken == nil || !store && !o.Copies[s.From].Held(*k.Taken) || o.Copies[s.Dataset].Head {
			t.Fatalf("%+v of %+v, snapshot %+v in %+v", s, x, k, o.Copies[s.From])
		}
	case plan.CopyFiles:
		copying(t, d, o, s)
	case plan.Revert:
		reverting(t, d, o, s)
	case plan.StartContainer:
		for _, id := range d.Applications[s.Application].DatasetIDs() {
			if d.Datasets[id].Rollback != nil {
				t.Fatalf("%+v on a dataset that is rolled back", s)
			}
		}
	case plan.TakeSnapshot:
		taking(t, d, o, s)
	case plan.TakeTogether:
		for _, one := range s.Snapshots {
			taking(t, d, o, one)
		}
		if d.Applications[s.Application].Move != "" {
			t.Fatalf("%+v pauses what moves", s)
		}
	default:
	}
}

// copying is that files are written only into what is not known to be whole, of the source that the record names, which nobody uses.
func copying(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.CopyFiles) {
	x, c := d.Datasets[s.Dataset], o.Copies[s.Dataset]
	from, source := d.Datasets[s.From], o.Copies[s.From]
	switch {
	case x.Owner != o.Node || x.Deleted || x.Born || x.Origin == nil || x.Origin.Via != s.From || s.Epoch != x.Epoch:
		t.Fatalf("%+v, which the record does not ask for: %+v", s, x)
	case c.Epoch > cluster.HalfEpoch || s.Epoch <= cluster.HalfEpoch || len(c.Snapshots) > 0:
		t.Fatalf("%+v over what may be whole: %+v", s, c)
	case from.Owner != o.Node || !source.Head || source.Mounted == "" || source.Epoch != from.Epoch || o.Foreign[s.From] != "":
		t.Fatalf("%+v of %+v, which is %+v here", s, from, source)
	}
}

// half is that of a dataset whose files are not all there nothing is used, and nothing made that looks whole.
func half(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.Step) {
	var ids []cluster.DatasetID
	switch s := s.(type) {
	case plan.Mount:
		ids = []cluster.DatasetID{s.Dataset}
	case plan.TakeSnapshot:
		ids = []cluster.DatasetID{s.Dataset}
	case plan.StartContainer:
		ids = d.Applications[s.Application].DatasetIDs()
	case plan.CreateVolume:
		ids = []cluster.DatasetID{s.Dataset}
	case plan.CloneVolume:
		ids = []cluster.DatasetID{s.Dataset}
	default:
	}
	for _, id := range ids {
		x, c := d.Datasets[id], o.Copies[id]
		if x.Origin != nil && x.Origin.Via != "" && !x.Born && c.Epoch <= cluster.HalfEpoch {
			t.Fatalf("%s %+v of a half-made copy: %+v, %+v", s.Kind(), s, x, c)
		}
	}
}

// reverting is that a head is given up only where it is the owner's, nobody uses it, and all it holds is kept.
func reverting(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.Revert) {
	x, c := d.Datasets[s.Dataset], o.Copies[s.Dataset]
	if x.Owner != o.Node || x.Move != "" || x.Rollback == nil || c.Mounted != "" || c.Scratch != "" || !at(c, x.Epoch) || o.Foreign[s.Dataset] != "" {
		t.Fatalf("%+v of %+v, copy %+v", s, x, c)
	}
	for _, k := range o.Containers {
		if slices.Contains(k.Datasets, s.Dataset) && k.State != cluster.ContainerExited && k.State != cluster.ContainerCreated {
			t.Fatalf("%+v under %+v", s, k)
		}
	}
	for _, k := range x.Snapshots {
		if k.ID == x.Rollback.Kept && (k.Taken == nil || k.Removed || !c.Held(*k.Taken)) {
			t.Fatalf("%+v before what there is is kept: %+v in %+v", s, k, c)
		}
	}
}

// at is that a head carries an epoch, or is a volume's that nobody has mounted and looked at.
func at(c cluster.Copy, epoch cluster.Epoch) bool {
	return c.Epoch == epoch || c.Epoch == 0 && c.Volume != "" && c.Mounted == ""
}

func taking(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.TakeSnapshot) {
	x, c := d.Datasets[s.Dataset], o.Copies[s.Dataset]
	if x.Owner != o.Node || x.Move != "" || !c.Head || !at(c, x.Epoch) || c.Scratch != "" || s.Epoch != x.Epoch {
		t.Fatalf("%+v of %+v, copy %+v", s, x, c)
	}
	if slices.ContainsFunc(c.Snapshots, func(has cluster.Snapshot) bool { return has.Epoch == s.Epoch && has.Serial >= s.Serial }) {
		t.Fatalf("%+v is not newer than all in %+v", s, c)
	}
	for _, k := range x.Snapshots {
		if k.ID == s.ID && (k.Taken != nil || k.Removed) {
			t.Fatalf("%+v takes what is taken or removed: %+v", s, k)
		}
	}
}

// dark is that nothing is done about what is, or was when this node last told of it, in a back end that cannot be looked at: not with
// the dataset, nor with an application or a move that has it.
func dark(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.Step) {
	if me := d.Nodes[o.Node]; me.Fence != nil && me.Fence.BootID == o.BootID {
		return // it stops what serves, whatever is to be seen
	}
	if _, wait := s.(plan.Wait); wait {
		return
	}
	var ids []cluster.DatasetID
	kind, name, _ := strings.Cut(s.Object(), "/")
	switch kind {
	case "dataset":
		ids = []cluster.DatasetID{cluster.DatasetID(name)}
	case "application":
		ids = slices.Concat(d.Applications[name].DatasetIDs(), o.Containers[name].Datasets)
	case "move":
		ids = d.Moves[cluster.MoveID(name)].Datasets
	}
	for _, id := range ids {
		x, known := d.Datasets[id]
		told, was := d.Elsewhere[o.Node].Copies[id]
		for _, end := range []string{x.Backend, told.Backend} {
			inFirst := end == "" || end == o.Storage.Backend
			why := o.Further[end].Error
			if inFirst {
				why = o.Storage.Error
			}
			if why != "" && (known && end == x.Backend || was && end == told.Backend) {
				t.Fatalf("%s %+v, where back end %q of %+v, told of as %+v, cannot be looked at: %s", s.Kind(), s, end, x, told, why)
			}
		}
	}
}

// alone is that of two nodes with one name in network storage neither reaches for a volume or gives one back.
func alone(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.Step) {
	switch s.(type) {
	case plan.CreateVolume, plan.Attach, plan.Detach, plan.Evict, plan.DestroyCopy:
	default:
		return
	}
	for id, other := range d.Elsewhere {
		if _, known := d.Nodes[id]; known && id != o.Node && o.Storage.Capabilities.Attaches && other.Storage.Machine == o.Storage.Machine {
			t.Fatalf("%s %+v while %s has the same name in the store", s.Kind(), s, id)
		}
	}
}

// writable is predicate I8, written down from the rule and not from the planner.
func writable(t *rapid.T, d cluster.Desired, o cluster.Observed, s plan.Step) {
	var ids []cluster.DatasetID
	switch s := s.(type) {
	case plan.Mount:
		ids = []cluster.DatasetID{s.Dataset}
	case plan.Attach:
		ids = []cluster.DatasetID{s.Dataset}
	case plan.Evict:
		ids = []cluster.DatasetID{s.Dataset}
		fenced := false
		failedOver := d.Datasets[s.Dataset].Eviction
		for id, n := range d.Nodes {
			if "m-"+string(id) == s.Machine {
				kept := o.Storage.Capabilities.Fences && failedOver == (cluster.Eviction{Node: id, Epoch: s.Epoch}) && n.Session == ""
				fenced = fenced || kept || n.Fence != nil && n.Fence.BootID == n.BootID
			}
		}
		if !fenced {
			t.Fatalf("%+v takes a volume from a machine that nobody declared off or failed over from", s)
		}
	case plan.StartContainer:
		a := d.Applications[s.Application]
		if ids = a.DatasetIDs(); a.Node != o.Node {
			t.Fatalf("%s starts away from its node", s.Application)
		}
	default:
		return
	}
	if !d.Complete || d.Session == "" || d.Session != o.Session || d.Nodes[o.Node].BootID != o.BootID {
		t.Fatalf("%s %+v on an incomplete or foreign reading", s.Kind(), s)
	}
	for _, id := range ids {
		x, c := d.Datasets[id], o.Copies[id]
		m := d.Moves[x.Move]
		before := m.Phase == cluster.MovePlanned || m.Phase == cluster.MovePreparing || m.Phase == cluster.MoveCopying
		after := m.Phase == cluster.MoveHandedOver || m.Phase == cluster.MoveCommitted
		free := x.Move == "" || m.Source == o.Node && before || m.Target == o.Node && after
		if x.Owner != o.Node || c.Epoch > x.Epoch || !free {
			t.Fatalf("%s %+v without the right to write: %+v, copy %+v, move %+v", s.Kind(), s, x, c, m)
		}
	}
}

// TestNextIsPure: the same twice, and what it was given is as it was.
func TestNextIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := anything(t)
		before := text(t, d) + text(t, o)
		first, second := plan.Next(d, o), plan.Next(d, o)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("Next differs from one call to the next (-first +second):\n%s", diff)
		}
		plan.Publications(d, o)
		for _, s := range first {
			plan.Apply(d, o, s)
		}
		for _, m := range d.Moves {
			m.Revision++
			plan.Advance(d, m)
		}
		if after := text(t, d) + text(t, o); after != before {
			t.Fatalf("the planner changed what it was given: %s", cmp.Diff(before, after))
		}
	})
}

func text(t *rapid.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestStepsComeToAnEnd: with nothing going wrong and no move, each state reaches one where only Waits are left.
func TestStepsComeToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := anything(t)
		for range 30 {
			left := 0
			for _, s := range plan.Next(d, o) {
				switch s.(type) {
				case plan.Wait, plan.RunMove, plan.AbortMove, plan.ResumeMove, plan.TakeBackMove, plan.CleanMove,
					plan.TakeSnapshot, plan.TakeTogether, plan.Revert: // these end with a change of the store
				default:
					o = plan.Apply(d, o, s)
					left++
				}
			}
			if left == 0 {
				return
			}
		}
		t.Fatalf("still at it after 30 rounds: %+v", plan.Next(d, o))
	})
}

// TestOnlyWhatIsHereByRightIsHeard: heard from a node is only what is there by right, behind an open gate.
func TestOnlyWhatIsHereByRightIsHeard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := anything(t)
		for name, address := range plan.Publications(d, o).Here {
			a, k := d.Applications[name], o.Containers[name]
			m := d.Moves[a.Move]
			hidden := m.Phase == cluster.MoveHandedOver || m.Phase == cluster.MoveCutting || m.Target == o.Node && m.Phase != cluster.MoveCommitted
			if a.Node != o.Node || !k.GateOpen || a.Move != "" && hidden {
				t.Fatalf("%s of %+v is heard, container %+v, move %+v", address, a, k, m)
			}
		}
	})
}

// TestPortsLeadToEveryApplication: on each node, wherever the application is.
func TestPortsLeadToEveryApplication(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := anything(t)
		e := plan.Publications(d, o)
		if !e.Known {
			return
		}
		led := map[string]int{}
		for _, p := range e.Publications {
			if p.Address != d.Applications[p.Application].Address {
				t.Fatalf("%+v leads elsewhere than to %+v", p, d.Applications[p.Application])
			}
			led[p.Application]++
		}
		for name, a := range d.Applications {
			want := 0
			for _, p := range a.Ports {
				if p.External != 0 && a.Address != "" && !a.Deleted {
					want++
				}
			}
			if led[name] != want {
				t.Fatalf("%d ports lead to %+v, want %d", led[name], a, want)
			}
		}
	})
}

// TestApplicationsOfDeadNodesAreNamed: each other node's without a session, and none that a move decides on.
func TestApplicationsOfDeadNodesAreNamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := anything(t)
		e := plan.Publications(d, o)
		for name, a := range d.Applications {
			dead := a.Address != "" && !a.Deleted && a.Move == "" && a.Node != o.Node && d.Nodes[a.Node].Session == ""
			if named := e.Dead[name]; e.Known && dead != (named != "") || named != "" && named != a.Address {
				t.Fatalf("%+v on node %+v is named %q as dead", a, d.Nodes[a.Node], named)
			}
		}
	})
}
