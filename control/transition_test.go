// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
)

// openService is a service without listeners.
func openService(t *testing.T) (*control.Service, *store.Store) {
	t.Helper()
	return openServiceOf(t, "")
}

func openServiceOf(t *testing.T, subnet string) (*control.Service, *store.Store) {
	t.Helper()
	s := emptyStore(t)
	service := control.NewService(s, nil, "test", quiet())
	if err := service.EnsureFabric(t.Context(), cluster.Fabric{Subnet: subnet}); err != nil {
		t.Fatal(err)
	}
	return service, s
}

func emptyStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Incarnate(t.Context(), store.NewMarker(t.TempDir()), "cluster"); err != nil {
		t.Fatal(err)
	}
	return s
}

// machine drives one move with requests of every kind, right and wrong, and
// compares each answer with a model of the rules.
type machine struct {
	ctx     context.Context //nolint:containedctx // rapid calls the methods without one
	service *control.Service
	store   *store.Store
	ids     map[string]cluster.NodeID
	session map[string]string // by role
	sent    []request         // what may be delivered again

	// The model.
	id        cluster.MoveID
	phase     cluster.MovePhase
	cancelled bool
	owner     string
	epoch     cluster.Epoch
	marked    bool
	revision  cluster.Revision
}

type request struct {
	who string
	t   api.MoveTransition
}

func TestMovesFollowTheirRules(t *testing.T) {
	t.Parallel()
	service, st := openService(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(t.Context(), rt, service, st)
		rt.Repeat(map[string]func(*rapid.T){
			"":           m.check,
			"transition": m.transition,
			"advance":    m.advance,
			"advance2":   m.advance, // twice as often
			"duplicate":  m.duplicate,
			"cancel":     m.cancel,
			"restart":    m.restart,
			"again":      m.again,
		})
	})
}

func newMachine(ctx context.Context, t *rapid.T, s *control.Service, st *store.Store) *machine {
	m := &machine{
		ctx: ctx, service: s, store: st, ids: map[string]cluster.NodeID{}, session: map[string]string{},
		phase: cluster.MovePlanned, owner: "source", epoch: 1, marked: true,
	}
	for _, role := range []string{"source", "target", "other"} {
		m.ids[role] = cluster.NodeID(uuid.NewString())
		m.open(t, role)
	}
	name := "app-" + uuid.NewString()[:8]
	must(t, second(s.Deploy(ctx, "test", api.DeployRequest{
		Applications: []cluster.Application{{
			Name: name, Image: "x", Node: m.ids["source"],
			Volumes: []cluster.Volume{{Dataset: cluster.DatasetID(name), MountPoint: "/data"}, {Dataset: cluster.DatasetID(name + "-2"), MountPoint: "/more"}},
		}},
		Datasets: []cluster.Dataset{{Name: name}, {Name: name + "-2"}},
	})))
	move, err := s.CreateMove(ctx, "test", api.MoveRequest{Application: name, Node: string(m.ids["target"])})
	must(t, err)
	m.id, m.revision = move.ID, move.Revision
	return m
}

func second[T any](_ T, err error) error { return err }

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) open(t *rapid.T, role string) {
	s, err := m.service.OpenSession(m.ctx, m.ids[role], api.SessionRequest{
		Name: role, Address: "127.0.0.1", AgentAddress: "127.0.0.1:4525", BootID: "boot", Protocol: 1, Process: uuid.NewString(),
	})
	must(t, err)
	m.session[role] = s.ID
}

// restart kills an agent: its next process has another session.
func (m *machine) restart(t *rapid.T) {
	m.open(t, rapid.SampledFrom([]string{"source", "target"}).Draw(t, "who"))
}

func (m *machine) transition(t *rapid.T) {
	r := request{who: rapid.SampledFrom([]string{"source", "source", "target", "target", "other"}).Draw(t, "who")}
	r.t.Action = rapid.SampledFrom([]api.MoveAction{
		api.ActionPhase, api.ActionPhase, api.ActionPhase, api.ActionHandOver, api.ActionAbort,
		api.ActionCommit, api.ActionTakeBack, api.ActionClean, "nonsense",
	}).Draw(t, "action")
	if r.t.Action == api.ActionPhase {
		r.t.Phase = rapid.SampledFrom([]cluster.MovePhase{
			cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveHandedOver, "later",
		}).Draw(t, "phase")
	}
	r.t.Attempt = rapid.SampledFrom([]int{1, 1, 1, 1, 0, 2}).Draw(t, "attempt")
	r.t.Revision = rapid.SampledFrom([]cluster.Revision{m.revision, m.revision, m.revision, 0, m.revision - 1}).Draw(t, "revision")
	r.t.Session = rapid.SampledFrom([]string{m.session[r.who], m.session[r.who], m.session[r.who], "stale", m.session["other"]}).Draw(t, "session")
	r.t.Reason = "because"
	if r.t.Action == api.ActionHandOver {
		r.t.Released = m.released(t)
	}
	m.sent = append(m.sent, r)
	m.ask(t, r)
}

// advance asks for what comes next, rightly but perhaps for what is released, so that moves get far.
func (m *machine) advance(t *rapid.T) {
	ways := map[cluster.MovePhase][]request{
		cluster.MovePlanned:    {{"source", api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MovePreparing}}},
		cluster.MovePreparing:  {{"source", api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MoveCopying}}},
		cluster.MoveCopying:    {{"source", api.MoveTransition{Action: api.ActionPhase, Phase: cluster.MoveCutting}}},
		cluster.MoveCutting:    {{"source", api.MoveTransition{Action: api.ActionHandOver}}},
		cluster.MoveHandedOver: {{"target", api.MoveTransition{Action: api.ActionCommit}}, {"source", api.MoveTransition{Action: api.ActionTakeBack}}},
		cluster.MoveCommitted:  {{"source", api.MoveTransition{Action: api.ActionClean}}},
	}[m.phase]
	if len(ways) == 0 {
		return
	}
	r := rapid.SampledFrom(ways).Draw(t, "way")
	r.t.Attempt, r.t.Revision, r.t.Session = 1, m.revision, m.session[r.who]
	if r.t.Action == api.ActionHandOver {
		r.t.Released = m.released(t)
	}
	m.sent = append(m.sent, r)
	m.ask(t, r)
}

func (m *machine) released(t *rapid.T) map[cluster.DatasetID]cluster.Epoch {
	released := map[cluster.DatasetID]cluster.Epoch{}
	for _, id := range m.move(t).Datasets {
		released[id] = rapid.SampledFrom([]cluster.Epoch{m.epoch, m.epoch, m.epoch, m.epoch - 1, m.epoch + 1}).Draw(t, "epoch")
	}
	if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
		for id := range released {
			delete(released, id)
			break
		}
	}
	return released
}

// duplicate delivers a request again, perhaps of a process that has died since.
func (m *machine) duplicate(t *rapid.T) {
	if len(m.sent) == 0 {
		t.Skip("nothing was sent yet")
	}
	m.ask(t, rapid.SampledFrom(m.sent).Draw(t, "request"))
}

// again asks once more for what has just been reached: a lost answer.
func (m *machine) again(t *rapid.T) {
	if len(m.sent) > 0 {
		m.ask(t, m.sent[len(m.sent)-1])
	}
}

// ask sends a request and compares the answer with the model's.
func (m *machine) ask(t *rapid.T, r request) {
	to, want := m.expect(t, r)
	got, err := m.service.Transition(m.ctx, m.ids[r.who], m.id, r.t)
	if !errors.Is(err, want) {
		t.Fatalf("%s asks %+v in %s (cancelled %v, revision %d): got %v, want %v", r.who, r.t, m.phase, m.cancelled, m.revision, err, want)
	}
	if err != nil {
		if now, ok := api.CurrentMove(err); !ok || now.Phase != m.phase {
			t.Fatalf("the refusal carries %+v, %v; the move is %s", now, ok, m.phase)
		}
		return
	}
	if to == m.phase || (m.phase == cluster.MoveCleaned && to == cluster.MoveCommitted) {
		return // nothing was to be done
	}
	m.phase, m.revision = to, got.Revision
	switch to {
	case cluster.MoveHandedOver:
		m.owner, m.epoch = "target", m.epoch+1
	case cluster.MoveTakenBack:
		m.owner, m.epoch, m.marked = "source", m.epoch+1, false
	case cluster.MoveAborted, cluster.MoveCleaned:
		m.marked = false
	case cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveCommitted:
	}
}

// expect is the model: safety.md's rules, said once more.
func (m *machine) expect(t *rapid.T, r request) (cluster.MovePhase, error) {
	asker := map[api.MoveAction][]string{
		api.ActionPhase: {"source"}, api.ActionHandOver: {"source"}, api.ActionAbort: {"source"},
		api.ActionCommit: {"target"}, api.ActionTakeBack: {"source", "target"}, api.ActionClean: {"source"},
	}
	allowed := false
	for _, a := range asker[r.t.Action] {
		allowed = allowed || a == r.who
	}
	if !allowed {
		return "", cluster.ErrForbidden
	}
	givesUp := r.t.Action == api.ActionAbort || r.t.Action == api.ActionTakeBack
	if !givesUp && r.t.Session != m.session[r.who] {
		return "", cluster.ErrPrecondition
	}
	if r.t.Attempt != 1 {
		return "", cluster.ErrConflict
	}
	to := map[api.MoveAction]cluster.MovePhase{
		api.ActionHandOver: cluster.MoveHandedOver, api.ActionAbort: cluster.MoveAborted, api.ActionCommit: cluster.MoveCommitted,
		api.ActionTakeBack: cluster.MoveTakenBack, api.ActionClean: cluster.MoveCleaned,
	}[r.t.Action]
	if r.t.Action == api.ActionPhase {
		if to = r.t.Phase; to != cluster.MovePreparing && to != cluster.MoveCopying && to != cluster.MoveCutting {
			return "", cluster.ErrInvalid
		}
	}
	switch {
	case r.t.Action == api.ActionHandOver && r.t.Revision == 0:
		return "", cluster.ErrInvalid
	case to == m.phase, to == cluster.MoveCommitted && m.phase == cluster.MoveCleaned:
		return to, nil
	case r.t.Revision != 0 && r.t.Revision != m.revision, !m.phase.Follows(to):
		return "", cluster.ErrConflict
	case m.cancelled && m.phase.BeforeHandOver() && to != cluster.MoveAborted:
		return "", cluster.ErrConflict
	case r.t.Action == api.ActionHandOver && !m.releasesAll(t, r.t.Released):
		return "", cluster.ErrConflict
	}
	return to, nil
}

func (m *machine) releasesAll(t *rapid.T, released map[cluster.DatasetID]cluster.Epoch) bool {
	sets := m.move(t).Datasets
	for _, id := range sets {
		if released[id] != m.epoch {
			return false
		}
	}
	return len(released) == len(sets)
}

func (m *machine) cancel(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "dice") != 0 {
		return // most moves shall get further
	}
	got, err := m.service.CancelMove(m.ctx, "test", string(m.id))
	if !m.phase.BeforeHandOver() {
		if !errors.Is(err, cluster.ErrConflict) {
			t.Fatalf("a cancel in %s gave %v", m.phase, err)
		}
		return
	}
	must(t, err)
	m.cancelled, m.revision = true, got.Revision
}

func (m *machine) move(t *rapid.T) cluster.Move { return read(t, m, store.Moves.Under(string(m.id))) }

func read[T any](t *rapid.T, m *machine, k store.Key[T]) T {
	var v T
	must(t, second(m.store.Read(m.ctx, func(tx *store.Tx) (err error) {
		v, err = store.Get(m.ctx, tx, k)
		return err
	})))
	return v
}

// check compares the store with the model: I2, I3, I6 and I7.
func (m *machine) check(t *rapid.T) {
	move := m.move(t)
	if move.Phase != m.phase || move.CancelRequested != m.cancelled {
		t.Fatalf("the move is %s (cancel requested: %v), the model %s (%v)", move.Phase, move.CancelRequested, m.phase, m.cancelled)
	}
	for _, id := range move.Datasets {
		d := read(t, m, store.Datasets.Under(string(id)))
		if d.Owner != m.ids[m.owner] || d.Epoch != m.epoch || (d.Move == m.id) != m.marked {
			t.Fatalf("dataset %s: owner %s epoch %d move %q; the model: %s %d, marked %v", id, d.Owner, d.Epoch, d.Move, m.ids[m.owner], m.epoch, m.marked)
		}
	}
	for _, name := range move.Applications {
		a := read(t, m, store.Applications.Under(name))
		if a.Node != m.ids[m.owner] || (a.Move == m.id) != m.marked {
			t.Fatalf("application %s: node %s move %q; the model: %s, marked %v", name, a.Node, a.Move, m.ids[m.owner], m.marked)
		}
	}
}
