// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// ask adds a snapshot to be taken; change may say more of it.
func (s *state) ask(id cluster.SnapshotID, change func(*cluster.KeptSnapshot)) {
	s.o.Storage.Capabilities.Snapshots = true
	k := cluster.KeptSnapshot{ID: id, Name: string(id)}
	change(&k)
	s.dataset(func(d *cluster.Dataset) { d.Snapshots = append(d.Snapshots, k) })
}

func plainly(*cluster.KeptSnapshot) {}

func takenAs(s cluster.Snapshot) func(*cluster.KeptSnapshot) {
	return func(k *cluster.KeptSnapshot) { k.Taken = &s }
}

func removedOnce(s cluster.Snapshot) func(*cluster.KeptSnapshot) {
	return func(k *cluster.KeptSnapshot) { k.Taken, k.Removed = &s, true }
}

func ofApplication(k *cluster.KeptSnapshot) { k.Application, k.Group = "db", "g" }

// back asks for a rollback to snapshot 2-1.
func (s *state) back() {
	s.ask("to", takenAs(snapshot(2, 1)))
	s.ask("kept", plainly)
	s.dataset(func(d *cluster.Dataset) { d.Rollback = &cluster.Rollback{To: "to", Kept: "kept"} })
}

// clone asks for dataset d2 as a clone of a snapshot of d1.
func (s *state) clone(how func(*cluster.KeptSnapshot)) {
	s.ask("a", how)
	s.d.Datasets["d2"] = cluster.Dataset{ID: "d2", Owner: "me", Epoch: 1, Origin: &cluster.Origin{Dataset: "d1", Snapshot: "a"}}
}

func TestSnapshotsThatAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *state)
		want   string
	}{
		{"one is taken", func(s *state) { s.ask("a", plainly) }, "dataset/d1 take-snapshot a e3 s1 []"},
		{"its number is above all others of the epoch, wherever they are", func(s *state) {
			s.ask("a", plainly)
			s.ask("b", takenAs(snapshot(3, 4)))
			s.copy(func(c *cluster.Copy) { c.Snapshots = append(c.Snapshots, snapshot(3, 2)) })
			s.d.Elsewhere["other"].Copies["d1"] = cluster.Copy{Dataset: "d1", Snapshots: []cluster.Snapshot{snapshot(2, 9), snapshot(3, 6)}}
		}, "dataset/d1 take-snapshot a e3 s7 []"},
		{"one after the other", func(s *state) { s.ask("a", takenAs(snapshot(2, 1))); s.ask("b", plainly); s.ask("c", plainly) }, "dataset/d1 take-snapshot b e3 s1 []"},
		{"the hooks of what runs on it come first", func(s *state) {
			s.ask("a", func(k *cluster.KeptSnapshot) { k.Quiesce = true })
		}, "dataset/d1 take-snapshot a e3 s1 [db]"},
		{"not before the head is mounted", func(s *state) {
			s.ask("a", plainly)
			s.copy(func(c *cluster.Copy) { c.Mounted = "" })
		}, "dataset/d1 mount"},
		{"not during a move", func(s *state) { s.ask("a", plainly); s.moving(cluster.MoveCopying, "me", "other") }, "move/m run-move"},
		{"storage without snapshots says so", func(s *state) {
			s.ask("a", plainly)
			s.o.Storage.Capabilities.Snapshots = false
		}, "dataset/d1 wait: snapshot a: the storage sim takes none"},
		{"those of an application are taken together", func(s *state) { s.ask("a", ofApplication) }, "application/db take-snapshots-together g [a e3 s1 []]"},
		{"also while it is paused, since that may be an earlier agent's work", func(s *state) {
			s.ask("a", ofApplication)
			s.container(func(k *cluster.Container) { k.State = cluster.ContainerPaused })
		}, "application/db take-snapshots-together g [a e3 s1 []]"},
		{"also where it does not run", func(s *state) {
			s.ask("a", ofApplication)
			s.container(func(k *cluster.Container) { k.State, k.Ended = cluster.ContainerExited, true })
		}, "application/db take-snapshots-together g [a e3 s1 []]"},
		{"and one by one where it is gone", func(s *state) {
			s.ask("a", ofApplication)
			delete(s.d.Applications, "db")
			delete(s.o.Containers, "db")
		}, "dataset/d1 take-snapshot a e3 s1 []"},
		{"what is kept is not pruned", func(s *state) {
			s.ask("a", takenAs(snapshot(1, 1)))
			s.copy(func(c *cluster.Copy) {
				c.Snapshots = append([]cluster.Snapshot{snapshot(1, 1), snapshot(1, 2)}, c.Snapshots...)
			})
		}, "dataset/d1 prune-snapshot 1-2"},
		{"nor on a replica that has it alone", func(s *state) {
			s.ask("a", takenAs(snapshot(1, 1)))
			s.dataset(func(d *cluster.Dataset) { d.Owner = "other" })
			s.application(func(a *cluster.Application) { a.Node = "other" })
			s.away()
			s.copy(func(c *cluster.Copy) { c.Snapshots = append([]cluster.Snapshot{snapshot(1, 1)}, c.Snapshots...) })
		}, ""},
		{"what is removed goes, though it is the newest", func(s *state) {
			s.ask("a", removedOnce(snapshot(3, 1)))
			s.copy(func(c *cluster.Copy) { c.Snapshots = append(c.Snapshots, snapshot(3, 1)) })
		}, "dataset/d1 prune-snapshot 3-1"},
		{"though it is the only one", func(s *state) {
			s.ask("a", removedOnce(snapshot(3, 1)))
			s.copy(func(c *cluster.Copy) { c.Snapshots = []cluster.Snapshot{snapshot(3, 1)} })
		}, "dataset/d1 prune-snapshot 3-1"},
		{"what is removed stays while it is the base of a replica", func(s *state) { s.ask("a", removedOnce(snapshot(2, 1))) }, ""},
		{"a clone is made of its snapshot", func(s *state) { s.clone(takenAs(snapshot(2, 1))) }, "dataset/d2 clone-volume"},
		{"but not before that is taken", func(s *state) { s.clone(ofApplication) }, "dataset/d2 wait: to be cloned: snapshot a is not taken yet\napplication/db take-snapshots-together g [a e3 s1 []]"},
		{"nor where it is not", func(s *state) { s.clone(takenAs(snapshot(1, 9))) }, "dataset/d2 wait: to be cloned: snapshot a is not on me"},
		{"nor anew when it was born", func(s *state) {
			s.clone(takenAs(snapshot(2, 1)))
			d := s.d.Datasets["d2"]
			d.Born = true
			s.d.Datasets["d2"] = d
		}, "dataset/d2 wait: its copy is missing on its owner me; it is not made anew"},
		{"before a rollback nothing may run", func(s *state) { s.back() }, "dataset/d1 wait: application db uses it on me\napplication/db close-gate"},
		{"nor be open", func(s *state) {
			s.back()
			s.container(func(k *cluster.Container) { k.GateOpen = false })
		}, "dataset/d1 wait: application db uses it on me\napplication/db stop-container"},
		{"nor be mounted", func(s *state) {
			s.back()
			s.container(func(k *cluster.Container) { k.GateOpen, k.State = false, cluster.ContainerExited })
		}, "dataset/d1 unmount\napplication/db wait: dataset d1 is being rolled back"},
		{"then what there is is kept", func(s *state) { s.back(); s.stopped() }, "dataset/d1 take-snapshot\napplication/db wait: dataset d1 is being rolled back kept e3 s1 []"},
		{"and then the head is what it was", func(s *state) {
			s.back()
			s.stopped()
			s.dataset(func(d *cluster.Dataset) { took := snapshot(3, 1); d.Snapshots[1].Taken = &took })
			s.copy(func(c *cluster.Copy) { c.Snapshots = append(c.Snapshots, snapshot(3, 1)) })
		}, "dataset/d1 revert\napplication/db wait: dataset d1 is being rolled back"},
		{"a head of an earlier epoch gets the present one first", func(s *state) {
			s.back()
			s.stopped()
			s.copy(func(c *cluster.Copy) { c.Epoch = 2 })
		}, "dataset/d1 mount\napplication/db wait: dataset d1 is being rolled back"},
		{"what is not here is no head", func(s *state) {
			s.back()
			s.stopped()
			s.copy(func(c *cluster.Copy) { c.Snapshots = []cluster.Snapshot{snapshot(1, 1)} })
		}, "dataset/d1 wait: to be rolled back: snapshot to is not on me\napplication/db wait: dataset d1 is being rolled back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serving()
			c.change(&s)
			steps := plan.Next(s.d, s.o)
			if got := briefKept(steps); got != c.want {
				t.Errorf("Next:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

// briefKept is brief with what is taken.
func briefKept(steps []plan.Step) string {
	text := brief(steps)
	words := func(s plan.TakeSnapshot) string {
		return fmt.Sprintf("%s e%d s%d %v", s.ID, s.Epoch, s.Serial, s.Quiesce)
	}
	for _, s := range steps {
		switch s := s.(type) {
		case plan.TakeSnapshot:
			text += " " + words(s)
		case plan.TakeTogether:
			var all []string
			for _, one := range s.Snapshots {
				all = append(all, words(one))
			}
			text += fmt.Sprint(" ", s.Group, " ", all)
		default:
		}
	}
	return text
}

// TestNobodyPrunesWhatIsKept: Permit is the floor under every part that asks for it.
func TestNobodyPrunesWhatIsKept(t *testing.T) {
	s := serving()
	s.ask("a", takenAs(snapshot(2, 1)))
	if step := (plan.PruneSnapshot{Dataset: "d1", Snapshot: "2-1"}); plan.Permit(s.d, s.o, step) {
		t.Errorf("Permit allows %+v", step)
	}
}
