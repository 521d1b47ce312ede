// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// copyingOut is serving with dataset d3 to be copied, by way of d2, into another back end.
func copyingOut() state {
	s := serving()
	s.clone(takenAs(snapshot(2, 1)))
	via := s.d.Datasets["d2"]
	via.Name, via.Born, via.CopyFor = "source", true, "d3"
	s.d.Datasets["d2"] = via
	s.o.Copies["d2"] = cluster.Copy{Dataset: "d2", Backend: "sim", Head: true, Epoch: 1, Mounted: "/flocker/d2"}
	s.o.Further = map[string]cluster.Storage{"store": {Backend: "store", Capabilities: cluster.Capabilities{Attaches: true}}}
	s.d.Datasets["d3"] = cluster.Dataset{
		ID: "d3", Owner: "me", Epoch: 2, Backend: "store", Origin: &cluster.Origin{Dataset: "d1", Snapshot: "a", Via: "d2"},
	}
	return s
}

func (s *state) change(id cluster.DatasetID, f func(*cluster.Dataset, *cluster.Copy)) {
	d, c := s.d.Datasets[id], s.o.Copies[id]
	f(&d, &c)
	s.d.Datasets[id] = d
	if c.Dataset != "" {
		s.o.Copies[id] = c
	}
}

// there is a volume of d3 with an epoch on its data.
func (s *state) there(epoch cluster.Epoch, mounted string) {
	s.o.Copies["d3"] = cluster.Copy{Dataset: "d3", Backend: "store", Head: true, Epoch: epoch, Mounted: mounted, Volume: "v", Device: "device"}
}

func TestACopyBetweenBackEnds(t *testing.T) {
	const copies = "copy-files"
	for _, c := range []struct {
		name   string
		change func(s *state)
		want   string // the step of d3
	}{
		{"its files are copied once its source is mounted", func(*state) {}, copies},
		{"again where the volume is there without them", func(s *state) { s.there(cluster.HalfEpoch, "") }, copies},
		{"also where it is mounted", func(s *state) { s.there(cluster.HalfEpoch, "/flocker/d3") }, copies},
		{"and where nobody has read yet what it carries", func(s *state) { s.there(0, "") }, copies},
		{"and where it is not attached", func(s *state) {
			s.o.Copies["d3"] = cluster.Copy{Dataset: "d3", Backend: "store", Volume: "v"}
		}, copies},
		{"what is whole is mounted", func(s *state) { s.there(2, "") }, "mount"},
		{"and left alone", func(s *state) { s.there(2, "/flocker/d3") }, ""},
		{"what was born is never made anew", func(s *state) {
			s.change("d3", func(d *cluster.Dataset, _ *cluster.Copy) { d.Born = true })
		}, "its volume is not in the store; it is not made anew"},
		{"whatever it carries", func(s *state) {
			s.there(cluster.HalfEpoch, "/flocker/d3")
			s.change("d3", func(d *cluster.Dataset, _ *cluster.Copy) { d.Born = true })
		}, "mount"},
		{"its source is to be mounted", func(s *state) {
			s.change("d2", func(_ *cluster.Dataset, c *cluster.Copy) { c.Mounted = "" })
		}, "its source source is not mounted yet"},
		{"its snapshot is to be taken", func(s *state) {
			delete(s.o.Copies, "d2")
			s.dataset(func(d *cluster.Dataset) { d.Snapshots[0].Taken = nil })
		}, "its source source is not mounted yet: snapshot a is not taken yet"},
		{"its source is elsewhere", func(s *state) {
			s.change("d2", func(d *cluster.Dataset, _ *cluster.Copy) { d.Owner = "other" })
		}, "what it is to be made from is on other"},
		{"its source is being removed", func(s *state) {
			s.change("d2", func(d *cluster.Dataset, _ *cluster.Copy) { d.Deleted = true })
		}, "what it is to be made from is gone"},
		{"somebody has its source open", func(s *state) { s.o.Foreign = map[cluster.DatasetID]string{"d2": "shell"} }, "container shell uses its source source"},
		{"somebody has it open", func(s *state) { s.o.Foreign = map[cluster.DatasetID]string{"d3": "shell"} }, "container shell uses it before it is whole"},
		{"storage gone wrong", func(s *state) {
			s.o.Further["store"] = cluster.Storage{Backend: "store", Error: "no answer"}
		}, "back end store cannot be looked at: no answer"},
		{"snapshots before it is whole", func(s *state) {
			s.there(0, "")
			s.change("d3", func(_ *cluster.Dataset, c *cluster.Copy) { c.Snapshots = []cluster.Snapshot{snapshot(2, 1)} })
		}, "snapshots of it are here before it is whole"},
		{"a record without room below its epoch", func(s *state) {
			s.change("d3", func(d *cluster.Dataset, _ *cluster.Copy) { d.Epoch = cluster.HalfEpoch })
		}, "its record is incomplete"},
		{"removed while it is half made", func(s *state) {
			s.there(cluster.HalfEpoch, "/flocker/d3")
			s.change("d3", func(d *cluster.Dataset, _ *cluster.Copy) { d.Deleted = true })
		}, "unmount"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := copyingOut()
			c.change(&s)
			steps := plan.Next(s.d, s.o)
			i := slices.IndexFunc(steps, func(step plan.Step) bool { return step.Object() == "dataset/d3" })
			got := ""
			if i >= 0 {
				got = steps[i].Kind()
				if w, waits := steps[i].(plan.Wait); waits {
					got = w.Reason
				}
			}
			if !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("the step is %q; want %q", got, c.want)
			}
		})
	}
}

// Of a volume that nobody has read since the agent started it is not known whether it is whole.
func TestAVolumeOfWhichTheEpochIsNotReadCountsAsHalfCopied(t *testing.T) {
	s := copyingOut()
	s.there(0, "")
	s.change("d3", func(d *cluster.Dataset, _ *cluster.Copy) { d.Snapshots = []cluster.KeptSnapshot{{ID: "k", Name: "k"}} })
	take := plan.TakeSnapshot{Dataset: "d3", ID: "k", Epoch: 2, Serial: 1}
	if plan.Permit(s.d, s.o, take) {
		t.Error("a snapshot may be taken of it")
	}
	s.change("d3", func(d *cluster.Dataset, _ *cluster.Copy) { d.Born = true })
	if !plan.Permit(s.d, s.o, take) {
		t.Error("and not of one that was born")
	}
}

// What is half copied nobody mounts, starts on, or takes a snapshot of, whoever asks.
func TestAHalfMadeCopyIsNobodysToUse(t *testing.T) {
	for epoch, permitted := range map[cluster.Epoch]bool{cluster.HalfEpoch: false, 2: true} {
		s := copyingOut()
		s.there(epoch, "/flocker/d3")
		s.change("d3", func(d *cluster.Dataset, _ *cluster.Copy) { d.Snapshots = []cluster.KeptSnapshot{{ID: "k", Name: "k"}} })
		s.d.Applications["new"] = cluster.Application{Name: "new", Image: "x", Node: "me", Volumes: []cluster.Volume{{Dataset: "d3", MountPoint: "/x"}}}
		s.o.Containers["new"] = cluster.Container{Application: "new", State: cluster.ContainerCreated, Spec: s.d.Applications["new"].SpecHash(), Datasets: []cluster.DatasetID{"d3"}}
		for _, step := range []plan.Step{
			plan.Mount{Dataset: "d3", Epoch: 2}, plan.StartContainer{Application: "new"}, plan.TakeSnapshot{Dataset: "d3", ID: "k", Epoch: 2, Serial: 1}, plan.OpenGate{Application: "new"},
		} {
			if got := plan.Permit(s.d, s.o, step); got != permitted {
				t.Errorf("with epoch %d on it, Permit(%s) = %t", epoch, step.Kind(), got)
			}
		}
		copies := plan.CopyFiles{Dataset: "d3", From: "d2", Backend: "store", Epoch: 2}
		if got := plan.Permit(s.d, s.o, copies); got == permitted {
			t.Errorf("with epoch %d on it, Permit(copy-files) = %t", epoch, got)
		}
		copies.From = "d1"
		if plan.Permit(s.d, s.o, copies) {
			t.Error("files of another dataset may be copied")
		}
	}
}

// What cannot be looked at is neither copied from nor copied into.
func TestNothingIsCopiedInTheDark(t *testing.T) {
	copies := plan.CopyFiles{Dataset: "d3", From: "d2", Backend: "store", Epoch: 2}
	for _, end := range []string{"sim", "store"} {
		s := copyingOut()
		if !plan.Permit(s.d, s.o, copies) {
			t.Fatal("it is not permitted at all")
		}
		if end == "store" {
			s.o.Further["store"] = cluster.Storage{Backend: "store", Error: "it does not answer"}
		} else {
			s.o.Storage.Backend, s.o.Storage.Error = "sim", "it does not answer"
		}
		if plan.Permit(s.d, s.o, copies) {
			t.Errorf("permitted while %s cannot be looked at", end)
		}
		for _, step := range plan.Next(s.d, s.o) {
			if step.Kind() == copies.Kind() {
				t.Errorf("planned while %s cannot be looked at", end)
			}
		}
	}
}
