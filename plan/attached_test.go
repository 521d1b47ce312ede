// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// attached is serving on network storage: the volume is attached here, and "other" has nothing of it.
func attached() state {
	s := serving()
	s.o.Storage.Capabilities, s.o.Storage.Machine = cluster.Capabilities{Attaches: true, Resizes: true}, "m-me"
	s.copy(func(c *cluster.Copy) { c.Volume, c.Device, c.Snapshots = "v1", "/dev/x", nil })
	s.d.Elsewhere["other"] = cluster.Observed{Node: "other", Storage: cluster.Storage{Machine: "m-other"}}
	return s
}

func (s *state) detached() {
	s.copy(func(c *cluster.Copy) { *c = cluster.Copy{Dataset: "d1", Volume: "v1"} })
	s.container(func(k *cluster.Container) { k.State, k.GateOpen = cluster.ContainerExited, false })
}

// failedOver is detached after a fail-over from "other", which is not heard and still has the volume.
func (s *state) failedOver() {
	s.detached()
	s.copy(func(c *cluster.Copy) { c.Holder = "m-other" })
	s.dataset(func(d *cluster.Dataset) { d.Eviction = cluster.Eviction{Node: "other", Epoch: d.Epoch} })
	s.o.Storage.Capabilities.Fences = true
	n := s.d.Nodes["other"]
	n.Session = ""
	s.d.Nodes["other"] = n
}

func (s *state) ownedByOther() {
	s.dataset(func(d *cluster.Dataset) { d.Owner, d.Epoch = "other", 4 })
	s.application(func(a *cluster.Application) { a.Node = "other" })
}

const sameName = "other has the same name in the store, m-me: give each node its own, or remove the one that is no more"

func TestNextOnNetworkStorage(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *state)
		want   string
	}{
		{"what serves needs nothing", func(*state) {}, ""},
		{"a new dataset is made", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Born = false })
			delete(s.o.Copies, "d1")
			delete(s.o.Containers, "db")
		}, "dataset/d1 create-volume\napplication/db create-container"},
		{"making it is gone on with", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Born = false })
			s.detached()
			delete(s.o.Containers, "db")
		}, "dataset/d1 create-volume\napplication/db create-container"},
		{
			"a volume that vanished is not made anew", func(s *state) { s.detached(); delete(s.o.Copies, "d1") },
			"dataset/d1 wait: its volume is not in the store; it is not made anew\napplication/db wait: dataset d1 is not mounted yet",
		},
		{
			"a volume that lost its filesystem is not formatted", func(s *state) {
				s.detached()
				s.copy(func(c *cluster.Copy) { c.Device = "/dev/x" })
			},
			"dataset/d1 wait: its volume v1 carries no filesystem; it is not formatted anew\napplication/db wait: dataset d1 is not mounted yet",
		},
		{"after a boot it is attached", (*state).detached, "dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet"},
		{
			"then mounted", func(s *state) {
				s.detached()
				s.copy(func(c *cluster.Copy) { c.Device, c.Head = "/dev/x", true })
			},
			"dataset/d1 mount\napplication/db wait: dataset d1 is not mounted yet",
		},
		{"it grows", func(s *state) { s.dataset(func(d *cluster.Dataset) { d.Size = 1 << 30 }) }, "dataset/d1 resize"},
		{"it never shrinks", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Size = 1 << 20 })
			s.copy(func(c *cluster.Copy) { c.Size = 1 << 30 })
		}, ""},
		{
			"it is asked for where another machine has it, since that may give it back", func(s *state) {
				s.detached()
				s.copy(func(c *cluster.Copy) { c.Holder = "m-other" })
			},
			"dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet",
		},
		{"it is taken from a machine that was declared off", func(s *state) {
			s.detached()
			s.copy(func(c *cluster.Copy) { c.Holder = "m-other" })
			n := s.d.Nodes["other"]
			n.Fence = &cluster.Fence{By: "operator", BootID: n.BootID}
			s.d.Nodes["other"] = n
		}, "dataset/d1 evict\napplication/db wait: dataset d1 is not mounted yet"},
		{
			"it is taken from a machine that is not heard and was failed over from, where the store keeps it out", (*state).failedOver,
			"dataset/d1 evict\napplication/db wait: dataset d1 is not mounted yet",
		},
		{"not where the store cannot", func(s *state) {
			s.failedOver()
			s.o.Storage.Capabilities.Fences = false
		}, "dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet"},
		{"not from one that is heard again, which gives it back itself", func(s *state) {
			s.failedOver()
			n := s.d.Nodes["other"]
			n.Session = "s2"
			s.d.Nodes["other"] = n
		}, "dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet"},
		{"not by a fail-over of another epoch", func(s *state) {
			s.failedOver()
			s.dataset(func(d *cluster.Dataset) { d.Eviction.Epoch-- })
		}, "dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet"},
		{"not from one that nobody failed over from", func(s *state) {
			s.failedOver()
			s.dataset(func(d *cluster.Dataset) { d.Eviction.Node = "third" })
		}, "dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet"},
		{"not from one that has booted since", func(s *state) {
			s.detached()
			s.copy(func(c *cluster.Copy) { c.Holder = "m-other" })
			n := s.d.Nodes["other"]
			n.Fence = &cluster.Fence{By: "operator", BootID: "an earlier one"}
			s.d.Nodes["other"] = n
		}, "dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet"},
		{
			"what another owns is put down: first nobody uses it", (*state).ownedByOther,
			"dataset/d1 wait: application db uses it on me\napplication/db close-gate",
		},
		{"then it is unmounted", func(s *state) {
			s.ownedByOther()
			delete(s.o.Containers, "db")
		}, "dataset/d1 unmount"},
		{"then detached, whatever is on it", func(s *state) {
			s.ownedByOther()
			delete(s.o.Containers, "db")
			s.copy(func(c *cluster.Copy) { c.Mounted = "" })
		}, "dataset/d1 detach"},
		{"and that is all", func(s *state) {
			s.ownedByOther()
			delete(s.o.Containers, "db")
			s.copy(func(c *cluster.Copy) { *c = cluster.Copy{Dataset: "d1", Volume: "v1"} })
		}, ""},
		{"what the store has here is given back though the kernel has no device of it", func(s *state) {
			s.ownedByOther()
			delete(s.o.Containers, "db")
			s.copy(func(c *cluster.Copy) { *c = cluster.Copy{Dataset: "d1", Volume: "v1", Holder: "m-me"} })
		}, "dataset/d1 detach"},
		{"only the owner destroys", func(s *state) {
			s.ownedByOther()
			s.dataset(func(d *cluster.Dataset) { d.Deleted = true })
			delete(s.d.Applications, "db")
			delete(s.o.Containers, "db")
			s.copy(func(c *cluster.Copy) { c.Mounted = "" })
		}, "dataset/d1 detach"},
		{"the owner destroys what is not attached", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Deleted = true })
			delete(s.d.Applications, "db")
			delete(s.o.Containers, "db")
			s.copy(func(c *cluster.Copy) { *c = cluster.Copy{Dataset: "d1", Volume: "v1"} })
		}, "dataset/d1 destroy-copy"},
		{"nodes of one name in the store touch nothing: it would let both have a volume", func(s *state) {
			s.detached()
			s.d.Elsewhere["other"] = cluster.Observed{Node: "other", Storage: cluster.Storage{Machine: "m-me"}}
		}, "dataset/d1 wait: " + sameName + "\napplication/db wait: dataset d1: " + sameName},
		{"nor does one give back what the other may have", func(s *state) {
			s.ownedByOther()
			delete(s.o.Containers, "db")
			s.copy(func(c *cluster.Copy) { *c = cluster.Copy{Dataset: "d1", Volume: "v1", Holder: "m-me"} })
			s.d.Elsewhere["other"] = cluster.Observed{Node: "other", Storage: cluster.Storage{Machine: "m-me"}}
		}, "dataset/d1 wait: " + sameName},
		{
			"a source that handed over has nothing left", func(s *state) {
				s.moving(cluster.MoveHandedOver, "me", "other")
				s.stopped()
			},
			"move/m wait: waiting for other to get ready and commit\ndataset/d1 detach\napplication/db wait: handed over to other, which has not committed yet",
		},
		{"a source that it was taken back to reaches for it", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Epoch = 5 })
			s.detached()
			s.copy(func(c *cluster.Copy) { c.Holder = "m-other" })
		}, "dataset/d1 attach\napplication/db wait: dataset d1 is not mounted yet"},
		{"a target that it was taken back from puts it down", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Owner, d.Epoch = "other", 5 })
			s.application(func(a *cluster.Application) { a.Node = "other" })
			s.copy(func(c *cluster.Copy) { c.Epoch = 4 })
			s.container(func(k *cluster.Container) { k.GateOpen = false })
		}, "dataset/d1 wait: application db uses it on me\napplication/db stop-container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := attached()
			c.change(&s)
			steps := plan.Next(s.d, s.o)
			if diff := cmp.Diff(c.want, brief(steps)); diff != "" {
				t.Errorf("Next (-want +got):\n%s", diff)
			}
			for _, step := range steps {
				if !plan.Permit(s.d, s.o, step) {
					t.Errorf("%s is not permitted", step.Kind())
				}
			}
		})
	}
}
