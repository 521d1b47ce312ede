// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// keptVolume is attached with a snapshot of an earlier epoch, which somebody asked to keep.
func keptVolume() state {
	s := attached()
	s.o.Storage.Capabilities.Reverts = true
	s.ask("to", takenAs(snapshot(2, 1)))
	s.copy(func(c *cluster.Copy) { c.Snapshots = []cluster.Snapshot{snapshot(2, 1)} })
	return s
}

// unread is what a volume is that nobody has mounted since the agent started.
func (s *state) unread() {
	s.container(func(k *cluster.Container) { k.State, k.GateOpen = cluster.ContainerExited, false })
	s.copy(func(c *cluster.Copy) { c.Mounted, c.Epoch = "", 0 })
}

func (s *state) goBack(kept func(*cluster.KeptSnapshot)) {
	s.ask("kept", kept)
	s.dataset(func(d *cluster.Dataset) { d.Rollback = &cluster.Rollback{To: "to", Kept: "kept"} })
}

func TestSnapshotsOfVolumes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *state)
		want   string
	}{
		{"one that is kept stays", func(*state) {}, ""},
		{"what nobody asked for goes, the newest too", func(s *state) {
			s.copy(func(c *cluster.Copy) { c.Snapshots = append(c.Snapshots, snapshot(3, 5)) })
		}, "dataset/d1 prune-snapshot 3-5"},
		{"what was removed goes", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Snapshots[0].Removed = true })
		}, "dataset/d1 prune-snapshot 2-1"},
		{"one is taken", func(s *state) { s.ask("a", plainly) }, "dataset/d1 take-snapshot a e3 s1 []"},
		{"not where the storage takes none, which says why", func(s *state) {
			s.ask("a", plainly)
			s.o.Storage.Capabilities.Snapshots, s.o.Storage.Capabilities.NoSnapshots = false, "no shared blocks"
		}, "dataset/d1 wait: snapshot a: the storage sim takes none: no shared blocks"},
		{
			"before going back its application is stopped", func(s *state) { s.goBack(plainly) },
			"dataset/d1 wait: application db uses it on me\napplication/db close-gate",
		},
		{"what it is now is kept first", func(s *state) {
			s.goBack(plainly)
			s.unread()
			s.copy(func(c *cluster.Copy) { c.Epoch = 3 })
		}, "dataset/d1 take-snapshot\napplication/db wait: dataset d1 is being rolled back kept e3 s1 []"},
		{
			"a volume that was not read since is not mounted for it", func(s *state) { s.goBack(plainly); s.unread() },
			"dataset/d1 take-snapshot\napplication/db wait: dataset d1 is being rolled back kept e3 s1 []",
		},
		{"nor when all is kept", func(s *state) {
			s.goBack(takenAs(snapshot(3, 1)))
			s.unread()
			s.copy(func(c *cluster.Copy) { c.Snapshots = append(c.Snapshots, snapshot(3, 1)) })
		}, "dataset/d1 revert\napplication/db wait: dataset d1 is being rolled back"},
		{"after it the epoch on it is raised", func(s *state) {
			s.unread()
			s.copy(func(c *cluster.Copy) { c.Epoch = 2 })
		}, "dataset/d1 mount\napplication/db wait: dataset d1 is not mounted yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := keptVolume()
			c.change(&s)
			if diff := cmp.Diff(c.want, briefKept(plan.Next(s.d, s.o))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whoever reaches the store makes the clone; that its node sees nothing of the origin does not matter.
func TestCloneOfAVolumeIsMadeOnAnyNode(t *testing.T) {
	s := keptVolume()
	s.clone(takenAs(snapshot(2, 1)))
	s.dataset(func(d *cluster.Dataset) { d.Owner, d.Epoch = "other", 4 })
	s.application(func(a *cluster.Application) { a.Node = "other" })
	delete(s.o.Copies, "d1")
	delete(s.o.Containers, "db")
	if got := briefKept(plan.Next(s.d, s.o)); got != "dataset/d2 clone-volume" {
		t.Errorf("Next = %s; want the clone", got)
	}
	s.o.Storage.Capabilities.Snapshots = false
	if got := briefKept(plan.Next(s.d, s.o)); got != "dataset/d2 wait: to be cloned: the storage sim makes no clones" {
		t.Errorf("Next = %s; want to be told that there are no clones", got)
	}
}
