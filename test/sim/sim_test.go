// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
	"github.com/flocker-project/flocker/test/sim"
)

var (
	courses = flag.Int("sim.courses", 1500, "random courses to run")
	first   = flag.Uint64("sim.seed", 1, "seed of the first course")
)

// wander runs random courses and returns the first that breaks the law, any where it is empty.
func wander(law string, next sim.Planner, bugs sim.Bugs, network bool, n int, watch func(sim.Course, *sim.World)) (sim.Options, sim.Course, *sim.World) {
	for seed := *first; seed < *first+uint64(n); seed++ {
		r := rand.New(rand.NewPCG(seed, 0))
		o := sim.Options{Plan: next, Bugs: bugs, Network: network, Length: r.IntN(700), Trouble: []float64{0, 0.01, 0.03, 0.1, 0.3}[r.IntN(5)]}
		c, w := sim.Wander(o, r)
		if breaks(w, law) {
			return o, c, w
		}
		watch(c, w)
	}
	return sim.Options{}, nil, nil
}

func breaks(w *sim.World, law string) bool {
	return slices.ContainsFunc(w.Wrong(), func(s string) bool { return strings.HasPrefix(s, law) })
}

// TestEveryCourseOfEventsKeepsTheLaws lets anything happen in any order and checks the laws after each event,
// and that the cluster comes to rest when the faults are over.
func TestEveryCourseOfEventsKeepsTheLaws(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind.name, func(t *testing.T) { everyCourse(t, kind.network) })
	}
}

type kind struct {
	name    string
	network bool
}

func kinds() []kind { return []kind{{"peer to peer", false}, {"network storage", true}} }

func everyCourse(t *testing.T, network bool) {
	n := *courses
	if testing.Short() {
		n /= 10
	}
	ends := map[cluster.MovePhase]int{}
	o, c, w := wander("", plan.Next, sim.Bugs{}, network, n, func(_ sim.Course, w *sim.World) {
		for p, n := range w.Phases() {
			ends[p] += n
		}
	})
	if w != nil {
		c = sim.Shorten(o, c)
		t.Fatalf("%s\n%s\nafter:\n  %s", strings.Join(w.Wrong(), "\n"), w.Describe(), strings.Join(c, "\n  "))
	}
	t.Logf("moves by how they ended: %v", ends)
	for _, p := range []cluster.MovePhase{cluster.MoveCleaned, cluster.MoveAborted, cluster.MoveTakenBack} {
		if ends[p] == 0 {
			t.Errorf("no move ended as %s: the courses are too tame to prove anything", p)
		}
	}
}

// unaborted takes a cut-over that nobody carries out for one that was never begun, and starts without a write of its own.
func unaborted(d cluster.Desired, o cluster.Observed) []plan.Step {
	d.Moves = maps.Clone(d.Moves)
	o.Noted = nil
	orphaned := map[cluster.MoveID]bool{}
	for id, m := range d.Moves {
		if m.Phase == cluster.MoveCutting {
			orphaned[id] = true
			m.Phase = cluster.MoveCopying
			d.Moves[id] = m
		}
	}
	return slices.DeleteFunc(plan.Next(d, o), func(s plan.Step) bool {
		run, ok := s.(plan.RunMove)
		return ok && orphaned[run.Move]
	})
}

// changeKept changes what a planner is told of snapshots.
func changeKept(d *cluster.Desired, change func(cluster.Dataset, *cluster.KeptSnapshot)) {
	for id, x := range d.Datasets {
		x.Snapshots = slices.Clone(x.Snapshots)
		for i := range x.Snapshots {
			change(x, &x.Snapshots[i])
		}
		d.Datasets[id] = x
	}
}

// TestLawsNoticePlantedBugs breaks one rule at a time: a law that notices nothing proves nothing.
func TestLawsNoticePlantedBugs(t *testing.T) {
	planner := func(change func(*cluster.Desired, *cluster.Observed)) sim.Planner {
		return func(d cluster.Desired, o cluster.Observed) []plan.Step {
			d.Moves, d.Datasets, d.Nodes, d.Applications = maps.Clone(d.Moves), maps.Clone(d.Datasets), maps.Clone(d.Nodes), maps.Clone(d.Applications)
			o.Copies, o.Claims, o.Noted = maps.Clone(o.Copies), maps.Clone(o.Claims), maps.Clone(o.Noted)
			change(&d, &o)
			return plan.Next(d, o)
		}
	}
	phase := func(d *cluster.Desired, from, to cluster.MovePhase) {
		for id, m := range d.Moves {
			if m.Phase == from {
				m.Phase = to
				d.Moves[id] = m
			}
		}
	}
	for _, bug := range []struct {
		name    string
		law     string // that notices
		bugs    sim.Bugs
		planner sim.Planner
		random  bool // found only by random courses
		network bool
	}{
		{"a source starts after a mere read", "I3", sim.Bugs{}, unaborted, false, false},
		{"the loop fights the cut-over", "I3", sim.Bugs{}, planner(func(_ *cluster.Desired, o *cluster.Observed) {
			for id := range o.Claims {
				o.Claims[id] = false
			}
		}), true, false},
		{"a node acts on another boot's reading", "I8", sim.Bugs{KeepsReading: true}, planner(func(d *cluster.Desired, o *cluster.Observed) {
			n := d.Nodes[o.Node]
			n.BootID = o.BootID
			d.Nodes[o.Node] = n
		}), true, false},
		{"a tentative target counts as committed", "I", sim.Bugs{}, planner(func(d *cluster.Desired, _ *cluster.Observed) {
			phase(d, cluster.MoveHandedOver, cluster.MoveCommitted)
		}), false, false},
		{"a divergent head is dropped", "I10", sim.Bugs{}, planner(func(_ *cluster.Desired, o *cluster.Observed) {
			for id, c := range o.Copies {
				c.Divergent = false
				o.Copies[id] = c
			}
		}), true, false},
		{"a scratch head counts as ordinary", "I14", sim.Bugs{}, planner(func(d *cluster.Desired, o *cluster.Observed) {
			for id, c := range o.Copies {
				c.Scratch = ""
				o.Copies[id] = c
			}
		}), false, false},
		{"the release is not proven", "I", sim.Bugs{ReleaseUnproven: true}, plan.Next, false, false},
		{"stopped before cutting is stored", "rule 2", sim.Bugs{StopBeforeCutting: true}, plan.Next, false, false},
		{"the gate opens before the commit", "I5", sim.Bugs{OpenBeforeCommit: true}, plan.Next, false, false},
		{"take-back after a commit", "I6", sim.Bugs{TakeBackAfterCommit: true}, plan.Next, false, false},
		{"commit after a take-back", "I6", sim.Bugs{CommitAfterTakeBack: true}, plan.Next, false, false},
		{"the hand-over compares no phase", "I", sim.Bugs{HandOverUncompared: true}, plan.Next, false, false},

		{"what is kept is pruned", "I16", sim.Bugs{}, planner(func(d *cluster.Desired, _ *cluster.Observed) {
			changeKept(d, func(_ cluster.Dataset, k *cluster.KeptSnapshot) { k.Removed = k.Taken != nil })
		}), true, false},
		{"a rollback keeps nothing of what there is", "I16", sim.Bugs{RevertUnproven: true}, planner(func(d *cluster.Desired, _ *cluster.Observed) {
			changeKept(d, func(x cluster.Dataset, k *cluster.KeptSnapshot) {
				if x.Rollback != nil && x.Rollback.Kept == k.ID {
					to, _ := x.Kept(x.Rollback.To)
					k.Taken = to.Taken
				}
			})
		}), true, false},

		{"what cannot be looked at is taken for gone", "I", sim.Bugs{}, planner(func(_ *cluster.Desired, o *cluster.Observed) {
			o.Storage.Error = ""
		}), true, false},
		{"a volume that cannot be looked at is taken for gone", "I", sim.Bugs{}, planner(func(_ *cluster.Desired, o *cluster.Observed) {
			o.Storage.Error = ""
		}), true, true},

		{"the release of a volume is not proven", "I", sim.Bugs{ReleaseUnproven: true}, plan.Next, false, true},
		{"the source stays attached", "I3", sim.Bugs{KeepsVolume: true}, plan.Next, false, true},
		{"a store that attaches to two machines", "I1", sim.Bugs{SharedVolumes: true}, plan.Next, true, true},
		{"the gate opens before the commit, on network storage", "I5", sim.Bugs{OpenBeforeCommit: true}, plan.Next, false, true},
		{"a volume is taken from who is not fenced", "I3", sim.Bugs{}, planner(func(d *cluster.Desired, _ *cluster.Observed) {
			for id, n := range d.Nodes {
				n.Fence = &cluster.Fence{BootID: n.BootID}
				if id != d.Datasets["d1"].Owner {
					d.Nodes[id] = n
				}
			}
		}), true, true},
	} {
		t.Run(bug.name, func(t *testing.T) {
			if !bug.random {
				if _, wrong := matrix(bug.law, bug.planner, bug.bugs, bug.network); wrong == "" {
					t.Fatal("no law noticed")
				}
				return
			}
			if testing.Short() {
				t.Skip("found only by a longer search, which a short run leaves out")
			}
			_, c, w := wander(bug.law, bug.planner, bug.bugs, bug.network, 1500, func(sim.Course, *sim.World) {})
			if w == nil {
				t.Fatal("no law noticed")
			}
			t.Logf("noticed after %d events: %s", len(c), w.Wrong()[0])
		})
	}
}

// matrix strikes a move at every event with every fault and every fate of what is under way; it returns the first that breaks the law, any where it is empty.
func matrix(law string, next sim.Planner, bugs sim.Bugs, network bool) (cases int, wrong string) {
	stride := 1
	if testing.Short() {
		stride = 5
	}
	for _, fault := range sim.Faults() {
		for _, fate := range sim.Fates() {
			for k := 0; k < 250; k += stride {
				w, going := sim.Strike(sim.Options{Plan: next, Bugs: bugs, Network: network}, k, fault, fate)
				if breaks(w, law) {
					return cases, fmt.Sprintf("after %d events %s, requests %s:\n%s\n%s", k, fault, fate, strings.Join(w.Wrong(), "\n"), w.Describe())
				}
				if !going {
					break
				}
				cases++
			}
		}
	}
	return cases, ""
}

// TestFaultAtEveryPointOfAMove is predicate I13 for every prefix of the move.
func TestFaultAtEveryPointOfAMove(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind.name, func(t *testing.T) {
			cases, wrong := matrix("", plan.Next, sim.Bugs{}, kind.network)
			if wrong != "" {
				t.Fatal(wrong)
			}
			t.Logf("%d cases", cases)
			if cases < 700 {
				t.Errorf("only %d cases: the move was over too soon", cases)
			}
		})
	}
}
