// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// state is one node's reading and observation, for tests to change.
type state struct {
	d cluster.Desired
	o cluster.Observed
}

// serving is a node "me" on which application db runs on dataset d1 and is served; "other" has an older replica.
func serving() state {
	s := state{d: cluster.NewDesired()}
	s.d.Complete, s.d.Session = true, "s1"
	for _, id := range []cluster.NodeID{"me", "other"} {
		s.d.Nodes[id] = cluster.Node{ID: id, Name: string(id), BootID: "b1", Session: "s1", Protocol: 1}
	}
	s.d.Datasets["d1"] = cluster.Dataset{ID: "d1", Owner: "me", Epoch: 3, Born: true}
	a := cluster.Application{
		Name: "db", Image: "db", Node: "me", Volumes: []cluster.Volume{{Dataset: "d1", MountPoint: "/data"}},
		Ports: []cluster.Port{{Internal: 5432, External: 5432}}, Restart: cluster.RestartPolicy{Name: cluster.RestartNever},
	}
	s.d.Applications["db"] = a
	s.d.Elsewhere["other"] = cluster.Observed{Node: "other", Copies: map[cluster.DatasetID]cluster.Copy{"d1": {Dataset: "d1", Snapshots: []cluster.Snapshot{snapshot(2, 1)}}}}
	s.o = cluster.Observed{
		Node: "me", BootID: "b1", Session: "s1", Claims: map[cluster.MoveID]bool{}, Noted: map[cluster.MoveID]int{}, Overdue: map[cluster.MoveID]bool{},
		Storage:    cluster.Storage{Backend: "sim", Capabilities: cluster.Capabilities{Replicates: true, Resizes: true}},
		Copies:     map[cluster.DatasetID]cluster.Copy{"d1": {Dataset: "d1", Head: true, Epoch: 3, Mounted: "/flocker/d1", Snapshots: []cluster.Snapshot{snapshot(2, 1)}}},
		Containers: map[string]cluster.Container{"db": {Application: "db", State: cluster.ContainerRunning, Spec: a.SpecHash(), Datasets: a.DatasetIDs(), GateOpen: true, Address: "10.0.0.2"}},
	}
	return s
}

func snapshot(e cluster.Epoch, serial uint64) cluster.Snapshot {
	name := string(rune('0'+e)) + "-" + string(rune('0'+serial))
	return cluster.Snapshot{Name: name, ID: name, Epoch: e, Serial: serial}
}

func (s *state) dataset(f func(*cluster.Dataset)) {
	x := s.d.Datasets["d1"]
	f(&x)
	s.d.Datasets["d1"] = x
}

func (s *state) application(f func(*cluster.Application)) {
	x := s.d.Applications["db"]
	f(&x)
	s.d.Applications["db"] = x
}

func (s *state) copy(f func(*cluster.Copy)) {
	x := s.o.Copies["d1"]
	f(&x)
	s.o.Copies["d1"] = x
}

func (s *state) container(f func(*cluster.Container)) {
	x := s.o.Containers["db"]
	f(&x)
	s.o.Containers["db"] = x
}

// moving puts d1 and db into move m, with owner and placement as the phase has them.
func (s *state) moving(phase cluster.MovePhase, from, to cluster.NodeID) {
	at := from
	if !phase.BeforeHandOver() {
		at = to
	}
	s.d.Moves["m"] = cluster.Move{
		ID: "m", Attempt: 1, Phase: phase, Mode: cluster.ModeRestart, Source: from, Target: to, Datasets: []cluster.DatasetID{"d1"}, Applications: []string{"db"},
	}
	s.dataset(func(d *cluster.Dataset) { d.Move, d.Owner = "m", at })
	s.application(func(a *cluster.Application) { a.Move, a.Node = "m", at })
}

// stopped is a source whose part of the cut-over is done.
func (s *state) stopped() {
	s.copy(func(c *cluster.Copy) { c.Mounted = "" })
	s.container(func(k *cluster.Container) { k.State, k.GateOpen = cluster.ContainerExited, false })
}

// away is a node that has nothing of d1 and db but what a replica has.
func (s *state) away() {
	delete(s.o.Containers, "db")
	s.copy(func(c *cluster.Copy) { *c = cluster.Copy{Dataset: "d1", Snapshots: c.Snapshots} })
}

// brief is a step in a word, with the reason of a Wait.
func brief(steps []plan.Step) string {
	var list []string
	for _, s := range steps {
		words := s.Object() + " " + s.Kind()
		if s, ok := s.(plan.Wait); ok {
			words += ": " + s.Reason
		}
		if s, ok := s.(plan.PruneSnapshot); ok {
			words += " " + s.Snapshot
		}
		if s, ok := s.(plan.MakeHead); ok {
			words += " " + s.Snapshot
		}
		list = append(list, words)
	}
	return strings.Join(list, "\n")
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *state)
		want   string
	}{
		{"what serves needs nothing", func(*state) {}, ""},
		{
			"nothing is done on an incomplete reading", func(s *state) { s.d.Complete = false; s.stopped() },
			"dataset/d1 wait: the desired state has not been read completely yet\napplication/db wait: the desired state has not been read completely yet",
		},
		{
			"nothing is done on another session's reading", func(s *state) { s.d.Session = "s0"; s.stopped() },
			"dataset/d1 wait: the desired state was read in another session\napplication/db wait: the desired state was read in another session",
		},
		{
			"nothing is done on another boot's reading", func(s *state) { s.o.BootID = "b2"; s.stopped() },
			"dataset/d1 wait: the control service knows this node in another boot\napplication/db wait: the control service knows this node in another boot",
		},
		{"a new dataset is made", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Born = false })
			s.away()
			delete(s.o.Copies, "d1")
			delete(s.d.Elsewhere, "other")
		}, "dataset/d1 create-volume\napplication/db create-container"},
		{"a dataset of which another node has a copy is not made anew", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Born = false })
			delete(s.o.Copies, "d1")
			delete(s.o.Containers, "db")
		}, "dataset/d1 wait: other has a copy of it; it is not made anew\napplication/db create-container"},
		{
			"a born dataset is not made anew", func(s *state) {
				delete(s.o.Copies, "d1")
				s.container(func(k *cluster.Container) { k.State = cluster.ContainerExited })
			},
			"dataset/d1 wait: its copy is missing on its owner me; other has a replica\napplication/db wait: dataset d1 is not mounted yet",
		},
		{"a fail-over adopts the snapshot it names", func(s *state) {
			s.away()
			s.dataset(func(d *cluster.Dataset) { d.Adopt = "2-1" })
		}, "dataset/d1 make-head 2-1\napplication/db create-container"},
		{
			"after a boot the head is mounted and then the container started", func(s *state) { s.stopped() },
			"dataset/d1 mount\napplication/db wait: dataset d1 is not mounted yet",
		},
		{"what a boot or a move stopped is started under every policy", func(s *state) {
			s.container(func(k *cluster.Container) { k.State, k.GateOpen = cluster.ContainerExited, false })
		}, "application/db start-container"},
		{"what ended by itself stays so under never", func(s *state) {
			s.container(func(k *cluster.Container) { k.State, k.Ended, k.ExitCode = cluster.ContainerExited, true, 3 })
		}, "application/db wait: it ended with exit code 3 and is not restarted by its policy"},
		{"on-failure has a limit", func(s *state) {
			s.application(func(a *cluster.Application) {
				a.Restart = cluster.RestartPolicy{Name: cluster.RestartOnFailure, MaximumRetryCount: 2}
			})
			s.container(func(k *cluster.Container) {
				k.State, k.Ended, k.ExitCode, k.Restarts = cluster.ContainerExited, true, 1, 2
			})
		}, "application/db wait: it ended with exit code 1 and was restarted 2 times, as often as its policy allows"},
		{"another description first closes the gate", func(s *state) { s.application(func(a *cluster.Application) { a.Image = "db:2" }) }, "application/db close-gate"},
		{"another description then stops", func(s *state) {
			s.application(func(a *cluster.Application) { a.Image = "db:2" })
			s.container(func(k *cluster.Container) { k.GateOpen = false })
		}, "application/db stop-container"},
		{
			"data newer than the store holds everything", func(s *state) { s.stopped(); s.copy(func(c *cluster.Copy) { c.Epoch = 4 }) },
			"dataset/d1 wait: its data carries epoch 4, newer than the store's 3: the store may have been restored from a backup\napplication/db wait: dataset d1 is not mounted yet",
		},
		{
			"a head older than its snapshots is not mounted", func(s *state) { s.stopped(); s.copy(func(c *cluster.Copy) { c.Epoch = 1 }) },
			"dataset/d1 wait: its head carries epoch 1, older than its snapshot 2-1\napplication/db wait: dataset d1 is not mounted yet",
		},
		{
			"after a take-back the untouched head is mounted", func(s *state) { s.stopped(); s.dataset(func(d *cluster.Dataset) { d.Epoch = 5 }) },
			"dataset/d1 mount\napplication/db wait: dataset d1 is not mounted yet",
		},
		{"a fenced node stands down", func(s *state) {
			n := s.d.Nodes["me"]
			n.Fence = &cluster.Fence{By: "user-alice", BootID: "b1"}
			s.d.Nodes["me"] = n
		}, "application/db close-gate\ndataset/d1 wait: the node was fenced by user-alice; it takes part again after its next boot"},

		{"the source runs a planned move and goes on serving", func(s *state) { s.moving(cluster.MovePlanned, "me", "other") }, "move/m run-move"},
		{"a cancelled move is aborted", func(s *state) {
			s.moving(cluster.MoveCopying, "me", "other")
			m := s.d.Moves["m"]
			m.CancelRequested = true
			s.d.Moves["m"] = m
		}, "move/m abort-move"},
		{
			"the loop keeps its hands off a cut-over", func(s *state) { s.moving(cluster.MoveCopying, "me", "other"); s.stopped(); s.o.Claims["m"] = true },
			"move/m wait: it is being carried out\ndataset/d1 wait: move m is cutting over\napplication/db wait: move m is cutting over",
		},
		{"a container that fails while its data is copied is started", func(s *state) {
			s.moving(cluster.MoveCopying, "me", "other")
			s.container(func(k *cluster.Container) { k.State = cluster.ContainerExited })
			s.o.Claims["m"] = false
		}, "move/m wait: it is being carried out\napplication/db start-container"},
		{
			"an orphaned cut-over is aborted before anything starts", func(s *state) { s.moving(cluster.MoveCutting, "me", "other"); s.stopped() },
			"move/m abort-move\ndataset/d1 wait: move m was cutting over; it is aborted before anything starts\napplication/db wait: move m was cutting over; it is aborted before anything starts",
		},
		{
			"a note outweighs what was read", func(s *state) { s.moving(cluster.MoveCopying, "me", "other"); s.stopped(); s.o.Noted["m"] = 1 },
			"move/m abort-move\ndataset/d1 wait: the hand-over of move m may have been sent; it is aborted before anything starts\napplication/db wait: the hand-over of move m may have been sent; it is aborted before anything starts",
		},
		{
			"after the hand-over the source waits", func(s *state) { s.moving(cluster.MoveHandedOver, "me", "other"); s.stopped() },
			"move/m wait: waiting for other to get ready and commit\ndataset/d1 wait: handed over to other, which has not committed yet\napplication/db wait: handed over to other, which has not committed yet",
		},
		{
			"an overdue target loses what it was given", func(s *state) { s.moving(cluster.MoveHandedOver, "me", "other"); s.away(); s.o.Overdue["m"] = true },
			"move/m take-back-move\ndataset/d1 wait: handed over to other, which has not committed yet",
		},
		{"a dead target loses what it was given", func(s *state) {
			s.moving(cluster.MoveHandedOver, "me", "other")
			s.away()
			s.d.Nodes["other"] = cluster.Node{ID: "other", Name: "other"}
		}, "move/m take-back-move\ndataset/d1 wait: handed over to other, which has not committed yet"},
		{
			"after the commit the source clears away", func(s *state) { s.moving(cluster.MoveCommitted, "me", "other"); s.stopped() },
			"move/m wait: the container of db is being removed here\ndataset/d1 drop-head\napplication/db remove-container",
		},
		{"and ends the move", func(s *state) { s.moving(cluster.MoveCommitted, "me", "other"); s.away() }, "move/m clean-move"},
		{
			"a divergent head is kept", func(s *state) {
				s.dataset(func(d *cluster.Dataset) { d.Owner = "other" })
				s.stopped()
				s.copy(func(c *cluster.Copy) { c.Divergent = true })
				delete(s.o.Containers, "db")
			},
			"dataset/d1 wait: divergent: it has writes that are in no snapshot; it is kept until it is removed by name\napplication/db wait: dataset d1 is owned by other",
		},

		{"a prepared target stays closed and stopped", func(s *state) {
			s.moving(cluster.MoveCopying, "other", "me")
			s.away()
			s.o.Containers["db"] = cluster.Container{Application: "db", State: cluster.ContainerCreated, Spec: s.d.Applications["db"].SpecHash()}
		}, "application/db wait: prepared for move m from other, which is copying"},
		{"the target resumes", func(s *state) { s.moving(cluster.MoveHandedOver, "other", "me"); s.away() }, "move/m resume-move\ndataset/d1 wait: move m is to be resumed here\napplication/db wait: move m is to be resumed here"},
		{"a target that committed takes the scratch mark away before it serves", func(s *state) {
			s.moving(cluster.MoveCommitted, "other", "me")
			s.copy(func(c *cluster.Copy) { c.Scratch = "m" })
			s.container(func(k *cluster.Container) { k.GateOpen = false })
		}, "dataset/d1 mount\napplication/db wait: dataset d1 is not mounted yet"},
		{"a scratch head newer than the reading is left alone", func(s *state) {
			s.moving(cluster.MoveCutting, "other", "me")
			s.copy(func(c *cluster.Copy) { c.Epoch, c.Scratch = 4, "m" })
		}, "dataset/d1 wait: its data is newer than the desired state that was read\napplication/db wait: its data is newer than the desired state that was read"},
		{"what was taken back is cleared away", func(s *state) {
			s.d.Moves["m"] = cluster.Move{ID: "m", Phase: cluster.MoveTakenBack, Source: "other", Target: "me"}
			s.dataset(func(d *cluster.Dataset) { d.Owner, d.Epoch = "other", 5 })
			s.application(func(a *cluster.Application) { a.Node = "other" })
			s.stopped()
			s.copy(func(c *cluster.Copy) { c.Scratch, c.Divergent, c.Epoch = "m", true, 4 })
		}, "dataset/d1 drop-head\napplication/db remove-container"},
		{
			"a phase of a later version", func(s *state) { s.moving("warming", "me", "other"); s.stopped() },
			`move/m wait: move m is in phase "warming", which this version does not know
dataset/d1 wait: move m is in phase "warming", which this version does not know
application/db wait: move m is in phase "warming", which this version does not know`,
		},

		{
			"a deleted application goes", func(s *state) {
				s.application(func(a *cluster.Application) { a.Deleted = true })
				s.stopped()
				s.copy(func(c *cluster.Copy) { c.Mounted = "/flocker/d1" })
			},
			"application/db remove-container",
		},
		{"a deleted dataset goes when nothing uses it", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Deleted = true })
			delete(s.d.Applications, "db")
			delete(s.o.Containers, "db")
		}, "dataset/d1 unmount"},
		{"the owner keeps its newest snapshot and the common one", func(s *state) {
			s.copy(func(c *cluster.Copy) {
				c.Snapshots = []cluster.Snapshot{snapshot(2, 1), snapshot(3, 1), snapshot(3, 2)}
			})
		}, "dataset/d1 prune-snapshot 3-1"},
		{"a replica keeps what its owner has", func(s *state) {
			s.dataset(func(d *cluster.Dataset) { d.Owner = "other" })
			delete(s.d.Applications, "db")
			s.away()
			s.copy(func(c *cluster.Copy) {
				c.Snapshots = []cluster.Snapshot{snapshot(1, 1), snapshot(2, 1), snapshot(3, 1)}
			})
		}, "dataset/d1 prune-snapshot 1-1"},
		{"a move's bases are not pruned", func(s *state) {
			s.moving(cluster.MovePlanned, "me", "other")
			s.copy(func(c *cluster.Copy) {
				c.Snapshots = []cluster.Snapshot{snapshot(1, 1), snapshot(2, 1), snapshot(3, 1)}
			})
		}, "move/m run-move"},
		{"nothing is pruned while a node has not told what it has", func(s *state) {
			delete(s.d.Elsewhere, "other")
			s.copy(func(c *cluster.Copy) { c.Snapshots = []cluster.Snapshot{snapshot(1, 1), snapshot(2, 1)} })
		}, ""},
		{
			"a copy of an unknown dataset is kept", func(s *state) { s.d.Datasets = map[cluster.DatasetID]cluster.Dataset{} },
			"dataset/d1 wait: a copy is here of a dataset that is not in the desired state; it is kept",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serving()
			c.change(&s)
			if diff := cmp.Diff(c.want, brief(plan.Next(s.d, s.o))); diff != "" {
				t.Errorf("Next (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAdvanceDoesWhatTheTransactionsDid(t *testing.T) {
	for _, c := range []struct {
		phase cluster.MovePhase
		owner cluster.NodeID
		epoch cluster.Epoch
		mark  cluster.MoveID
	}{
		{cluster.MoveCutting, "me", 3, "m"},
		{cluster.MoveHandedOver, "other", 4, "m"},
		{cluster.MoveCommitted, "other", 4, "m"},
		{cluster.MoveCleaned, "other", 4, ""},
		{cluster.MoveTakenBack, "me", 5, ""},
		{cluster.MoveAborted, "me", 3, ""},
	} {
		s := serving()
		s.moving(cluster.MoveCopying, "me", "other")
		m := s.d.Moves["m"]
		m.Phase, m.Revision = c.phase, 9
		got := plan.Advance(s.d, m)
		d, a := got.Datasets["d1"], got.Applications["db"]
		if d.Owner != c.owner || d.Epoch != c.epoch || d.Move != c.mark || a.Node != c.owner || a.Move != c.mark || got.Moves["m"].Phase != c.phase {
			t.Errorf("Advance to %s = dataset %+v, application on %s in move %q; want owner %s at %d in move %q", c.phase, d, a.Node, a.Move, c.owner, c.epoch, c.mark)
		}
	}
}
