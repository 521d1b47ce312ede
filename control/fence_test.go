// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
)

// stage is a service without listeners, with nodes that are driven by hand.
type stage struct {
	t       *testing.T
	service *control.Service
	store   *store.Store
	actors  map[string]*actor
}

type actor struct {
	id      cluster.NodeID
	session string
}

func newStage(t *testing.T, names ...string) *stage {
	t.Helper()
	return newStageOf(t, "", names...)
}

func newStageOf(t *testing.T, subnet string, names ...string) *stage {
	t.Helper()
	service, st := openServiceOf(t, subnet)
	s := &stage{t: t, service: service, store: st, actors: map[string]*actor{}}
	for _, name := range names {
		s.actors[name] = &actor{id: cluster.NodeID(uuid.NewString())}
		s.boot(name, "boot-1")
	}
	return s
}

func (s *stage) boot(name, boot string) {
	s.t.Helper()
	session, err := s.service.OpenSession(s.t.Context(), s.actors[name].id, api.SessionRequest{
		Name: name, Address: "127.0.0.1", AgentAddress: "127.0.0.1:4525", BootID: boot, Protocol: 1, Process: uuid.NewString(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.actors[name].session = session.ID
}

// die ends a node's session, as its time-out does.
func (s *stage) die(name string) {
	s.t.Helper()
	_, err := s.store.Update(s.t.Context(), func(tx *store.Tx) error {
		store.Delete(tx, store.Sessions.Under(string(s.actors[name].id)))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) deploy(app, node string) {
	s.t.Helper()
	_, err := s.service.Deploy(s.t.Context(), "test", api.DeployRequest{
		Applications: []cluster.Application{{
			Name: app, Image: "x", Node: cluster.NodeID(node), Volumes: []cluster.Volume{{Dataset: cluster.DatasetID(app), MountPoint: "/data"}},
		}},
		Datasets: []cluster.Dataset{{Name: app}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) move(app, node string) cluster.Move {
	s.t.Helper()
	m, err := s.service.CreateMove(s.t.Context(), "test", api.MoveRequest{Application: app, Node: node})
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// advance takes a move to a phase, as its nodes would.
func (s *stage) advance(m cluster.Move, source, target string, to cluster.MovePhase) cluster.Move {
	s.t.Helper()
	steps := []struct {
		who string
		t   api.MoveTransition
		to  cluster.MovePhase
	}{
		{source, api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MovePreparing}, cluster.MovePreparing},
		{source, api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MoveCopying}, cluster.MoveCopying},
		{source, api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MoveCutting}, cluster.MoveCutting},
		{source, api.MoveTransition{Action: api.ActionHandOver, Released: s.epochs(m)}, cluster.MoveHandedOver},
		{target, api.MoveTransition{Action: api.ActionCommit}, cluster.MoveCommitted},
	}
	for _, step := range steps {
		if m.Phase == to {
			return m
		}
		if !m.Phase.Follows(step.to) {
			continue
		}
		step.t.Session, step.t.Attempt, step.t.Revision = s.actors[step.who].session, m.Attempt, m.Revision
		var err error
		if m, err = s.service.Transition(s.t.Context(), s.actors[step.who].id, m.ID, step.t); err != nil {
			s.t.Fatal(err)
		}
	}
	return m
}

func (s *stage) epochs(m cluster.Move) map[cluster.DatasetID]cluster.Epoch {
	s.t.Helper()
	epochs := map[cluster.DatasetID]cluster.Epoch{}
	for _, id := range m.Datasets {
		epochs[id] = s.dataset(string(id)).Epoch
	}
	return epochs
}

func (s *stage) dataset(ref string) api.DatasetInfo {
	s.t.Helper()
	d, err := s.service.GetDataset(s.t.Context(), ref)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *stage) report(node string, o cluster.Observed) {
	s.t.Helper()
	if err := s.service.Observe(s.t.Context(), s.actors[node].id, api.ObservedReport{Session: s.actors[node].session, Observed: o}); err != nil {
		s.t.Fatal(err)
	}
}

func TestFenceSettlesTheMovesThatCannotGoOn(t *testing.T) {
	t.Parallel()
	for phase, want := range map[cluster.MovePhase]struct{ source, target cluster.MovePhase }{
		cluster.MovePlanned:    {cluster.MoveAborted, cluster.MovePlanned},
		cluster.MoveCutting:    {cluster.MoveAborted, cluster.MoveCutting},
		cluster.MoveHandedOver: {cluster.MoveHandedOver, cluster.MoveTakenBack},
		cluster.MoveCommitted:  {cluster.MoveCleaned, cluster.MoveCleaned},
	} {
		for _, off := range []string{"source", "target"} {
			t.Run(string(phase)+" without its "+off, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, "source", "target")
				s.deploy("db", "source")
				m := s.advance(s.move("db", "target"), "source", "target", phase)
				yes := api.FenceRequest{IsOff: true}
				_, err := s.service.FenceNode(t.Context(), "test", off, yes)
				wantError(t, err, cluster.ErrConflict) // it is alive
				s.die(off)
				_, err = s.service.FenceNode(t.Context(), "test", off, api.FenceRequest{})
				wantError(t, err, cluster.ErrInvalid)
				if _, err = s.service.FenceNode(t.Context(), "test", off, yes); err != nil {
					t.Fatal(err)
				}
				info, err := s.service.GetMove(t.Context(), string(m.ID))
				expected := want.source
				if off == "target" {
					expected = want.target
				}
				if err != nil || info.Phase != expected {
					t.Fatalf("the move is %s, %v; want %s", info.Phase, err, expected)
				}
				d := s.dataset("db")
				if (d.Move == "") != info.Phase.Terminal() {
					t.Errorf("the dataset is marked %q", d.Move)
				}
			})
		}
	}
}

func TestAFencedBootDoesNotComeBack(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.die("a")
	if _, err := s.service.FenceNode(t.Context(), "test", "a", api.FenceRequest{IsOff: true}); err != nil {
		t.Fatal(err)
	}
	_, err := s.service.OpenSession(t.Context(), s.actors["a"].id, api.SessionRequest{
		Name: "a", Address: "127.0.0.1", AgentAddress: "127.0.0.1:4525", BootID: "boot-1", Protocol: 1, Process: "p",
	})
	wantError(t, err, cluster.ErrForbidden)
	s.boot("a", "boot-2")
	nodes, err := s.service.ListNodes(t.Context())
	if err != nil || nodes[0].Fence != nil || !nodes[0].IsAlive {
		t.Errorf("got %+v, %v", nodes, err)
	}
}

func TestFailOverNeedsAFenceAReplicaAndConsent(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c")
	s.deploy("db", "a")
	id := s.dataset("db").ID
	s.report("a", cluster.Observed{Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Head: true, Epoch: 1}}})
	if !s.dataset("db").Born {
		t.Fatal("the dataset is not born with its owner's copy")
	}
	taken := time.Now().Add(-5 * time.Minute)
	s.report("b", cluster.Observed{Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Snapshots: []cluster.Snapshot{
		{Name: "e1-s2", Epoch: 1, Serial: 2, Created: taken}, {Name: "e1-s1", Epoch: 1, Serial: 1, Created: taken.Add(-time.Hour)},
	}}}})
	ask := func(node string, loss time.Duration) error {
		_, err := s.service.FailOver(t.Context(), "test", api.FailOverRequest{Application: "db", Node: node, MaxLoss: cluster.Duration(loss)})
		return err
	}
	wantError(t, ask("b", time.Hour), cluster.ErrConflict) // alive
	s.die("a")
	wantError(t, ask("b", time.Hour), cluster.ErrPrecondition) // not fenced
	if _, err := s.service.FenceNode(t.Context(), "test", "a", api.FenceRequest{IsOff: true}); err != nil {
		t.Fatal(err)
	}
	wantError(t, ask("c", time.Hour), cluster.ErrPrecondition)   // no replica
	wantError(t, ask("b", time.Minute), cluster.ErrPrecondition) // no consent
	if err := ask("b", time.Hour); err != nil {
		t.Fatal(err)
	}
	d := s.dataset("db")
	if d.Owner != s.actors["b"].id || d.Epoch != 2 || d.Adopt != "e1-s2" {
		t.Errorf("got %+v", d.Dataset)
	}
	a, err := s.service.GetApplication(t.Context(), "db")
	if err != nil || a.Node != s.actors["b"].id {
		t.Errorf("got %+v, %v", a.Application, err)
	}
	s.report("b", cluster.Observed{Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Head: true, Epoch: 2}}})
	if s.dataset("db").Adopt != "" {
		t.Error("the snapshot is still to be adopted")
	}
}

// A volume of network storage needs no replica and loses nothing; the fence is needed all the same.
func TestFailOverOfAVolumeLosesNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c", "d")
	s.deploy("db", "a")
	id := s.dataset("db").ID
	block := func(name string) cluster.Storage {
		return cluster.Storage{Backend: name, Capabilities: cluster.Capabilities{Attaches: true}}
	}
	s.report("a", cluster.Observed{Storage: block("loopback"), Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Head: true, Epoch: 1, Device: "/dev/loop1"}}})
	s.report("b", cluster.Observed{Storage: block("loopback")})
	s.report("c", cluster.Observed{Storage: block("ebs")})
	namesake := block("loopback")
	namesake.Kind = "rbd"
	s.report("d", cluster.Observed{Storage: namesake})
	ask := func(node string) error {
		_, err := s.service.FailOver(t.Context(), "test", api.FailOverRequest{Application: "db", Node: node})
		return err
	}
	s.die("a")
	wantError(t, ask("b"), cluster.ErrPrecondition) // not fenced
	if _, err := s.service.FenceNode(t.Context(), "test", "a", api.FenceRequest{IsOff: true}); err != nil {
		t.Fatal(err)
	}
	wantError(t, ask("c"), cluster.ErrPrecondition) // other storage
	wantError(t, ask("d"), cluster.ErrPrecondition) // other storage of that name
	if err := ask("b"); err != nil {
		t.Fatal(err)
	}
	if d := s.dataset("db"); d.Owner != s.actors["b"].id || d.Epoch != 2 || d.Adopt != "" {
		t.Errorf("got %+v", d.Dataset)
	}
}

// Storage that can itself keep a node out needs nobody's word that the node is off, only that it is not heard.
func TestFailOverOfAVolumeWhoseStorageFences(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c")
	s.deploy("db", "a")
	id := s.dataset("db").ID
	storage := func(fences bool) cluster.Storage {
		return cluster.Storage{Backend: "nbd", Capabilities: cluster.Capabilities{Attaches: true, Fences: fences}}
	}
	head := cluster.Copy{Dataset: id, Head: true, Epoch: 1, Device: "/dev/loop1"}
	s.report("a", cluster.Observed{Storage: storage(true), Copies: map[cluster.DatasetID]cluster.Copy{id: head}})
	s.report("b", cluster.Observed{Storage: storage(true)})
	s.report("c", cluster.Observed{Storage: storage(false)})
	ask := func(node string) error {
		_, err := s.service.FailOver(t.Context(), "test", api.FailOverRequest{Application: "db", Node: node})
		return err
	}
	wantError(t, ask("b"), cluster.ErrConflict) // it is heard
	s.die("a")
	wantError(t, ask("c"), cluster.ErrPrecondition) // it cannot keep a node out
	if err := ask("b"); err != nil {
		t.Fatal(err)
	}
	want := cluster.Eviction{Node: s.actors["a"].id, Epoch: 2}
	if d := s.dataset("db"); d.Owner != s.actors["b"].id || d.Epoch != 2 || d.Eviction != want {
		t.Errorf("got %+v; want b to take it from a", d.Dataset)
	}
	s.die("b")
	s.report("c", cluster.Observed{Storage: storage(true)})
	wantError(t, ask("c"), cluster.ErrPrecondition) // a may have it still
	s.boot("b", "boot-1")
	head.Epoch = 2
	s.report("b", cluster.Observed{Storage: storage(true), Copies: map[cluster.DatasetID]cluster.Copy{id: head}})
	if d := s.dataset("db"); d.Eviction != (cluster.Eviction{}) {
		t.Errorf("%+v is still to be taken", d.Dataset)
	}
	s.die("b")
	if err := ask("c"); err != nil {
		t.Errorf("fail-over once it was taken = %v", err)
	}
}

func TestDeletedObjectsAreForgottenWhenNothingIsLeft(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	id := s.dataset("db").ID
	_, err := s.service.DeleteDataset(t.Context(), "test", "db")
	wantError(t, err, cluster.ErrConflict)
	both := cluster.Observed{
		Copies:     map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Head: true, Epoch: 1}},
		Containers: map[string]cluster.Container{"db": {Application: "db", State: cluster.ContainerRunning}},
	}
	s.report("a", both)
	s.report("b", cluster.Observed{Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id}}})
	gone, err := s.service.DeleteApplication(t.Context(), "test", "db")
	if err != nil {
		t.Fatal(err)
	}
	s.report("a", cluster.Observed{Revision: gone.Revision - 1, Copies: both.Copies}) // it did not know yet
	if _, err := s.service.GetApplication(t.Context(), "db"); err != nil {
		t.Fatalf("forgotten on the word of a node that did not know: %v", err)
	}
	s.report("a", cluster.Observed{Revision: gone.Revision, Copies: both.Copies})
	_, err = s.service.GetApplication(t.Context(), "db")
	wantError(t, err, cluster.ErrNotFound)

	d, err := s.service.DeleteDataset(t.Context(), "test", "db")
	if err != nil {
		t.Fatal(err)
	}
	s.report("a", cluster.Observed{Revision: d.Revision})
	if left := s.dataset(string(id)); !left.Deleted {
		t.Fatal("forgotten while b has a copy")
	}
	s.report("b", cluster.Observed{Revision: d.Revision})
	_, err = s.service.GetDataset(t.Context(), string(id))
	wantError(t, err, cluster.ErrNotFound)
	_, err = s.service.CreateDataset(t.Context(), "test", api.DatasetRequest{ID: id, Node: "a"})
	wantError(t, err, cluster.ErrExists)
	if _, err = s.service.CreateDataset(t.Context(), "test", api.DatasetRequest{Name: "db", Node: "a"}); err != nil {
		t.Errorf("the name cannot be used again: %v", err)
	}
}

func TestANodeThatIsGoneForGoodIsForgotten(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	id := s.dataset("db").ID
	s.report("b", cluster.Observed{Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id}}})
	if err := s.service.ForgetNode(t.Context(), "test", "a"); err == nil {
		t.Fatal("an owner was forgotten")
	}
	for _, del := range []func() error{
		func() error { return second(s.service.DeleteApplication(t.Context(), "test", "db")) },
		func() error {
			s.report("a", cluster.Observed{Revision: 1 << 40})
			return second(s.service.DeleteDataset(t.Context(), "test", "db"))
		},
	} {
		if err := del(); err != nil {
			t.Fatal(err)
		}
	}
	s.report("a", cluster.Observed{Revision: 1 << 40})
	s.die("b")
	if err := s.service.ForgetNode(t.Context(), "test", "b"); err != nil {
		t.Fatal(err)
	}
	_, err := s.service.GetDataset(t.Context(), string(id))
	wantError(t, err, cluster.ErrNotFound) // only b's copy was waited for
}

func TestReportsThatDifferInTheRevisionOnlyWriteNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	o := cluster.Observed{Revision: 1, BootID: "boot-1", Storage: cluster.Storage{Backend: "mem"}}
	s.report("a", o)
	before, err := s.store.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.Revision = 99
	s.report("a", o)
	after, err := s.store.Revision(t.Context())
	if err != nil || after != before {
		t.Errorf("the store went from %d to %d, %v", before, after, err)
	}
}
