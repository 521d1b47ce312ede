// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/migrate"
	netmem "github.com/flocker-project/flocker/network/mem"
	"github.com/flocker-project/flocker/pki"
	"github.com/flocker-project/flocker/plan"
	"github.com/flocker-project/flocker/transfer"
)

// machine is a node without its agent: what outlives it.
type machine struct {
	t     *testing.T
	id    cluster.NodeID
	name  string
	world *world
	disk  *mem.Driver
	// storage, where set before anything runs, is asked before each call to the disk.
	storage fault.Hook
	answer  fault.Hook // after a call of storage
	pool    *backend.Pool
	eng     *engine
	net     *netmem.Network
	creds   *pki.Credentials
	state   string // folder
	boot    int

	mu        sync.Mutex
	published map[string]bool
	held      map[string]bool
	agent     *miniAgent
	conns     map[net.Conn]bool
	cut       bool // nobody reaches this machine, nor it them; control is not affected
	inUse     map[string]string
	// rebootOnDeath makes the whole machine lose its power with the agent.
	rebootOnDeath bool
	// holdBack, where set, says that the agent is not started again yet.
	holdBack func() bool
	foreign  string                  // a container that is not ours and uses the data
	replies  func(what string) error // after a request was answered: what the asker gets instead
}

// miniAgent is the volatile part: one process.
type miniAgent struct {
	*machine
	node    *migrate.Node
	server  *transfer.Server
	ctx     context.Context //nolint:containedctx // it is the life of the process
	kill    context.CancelFunc
	running sync.WaitGroup
	session string

	mu     sync.Mutex
	claims map[cluster.MoveID]bool
	seen   cluster.Observed
	faults map[string]bool // points at which it dies, once
	idle   bool            // the last round found nothing to do
	errs   []error
}

var errDead = errors.New("process is dead")

// crash is what a process that is killed leaves its function with.
type crash struct{ point string }

// boots a process of the agent.
func (m *machine) startAgent(faults ...string) *miniAgent {
	ctx, cancel := context.WithCancel(context.Background())
	a := &miniAgent{machine: m, ctx: ctx, kill: cancel, claims: map[cluster.MoveID]bool{}, faults: map[string]bool{}}
	for _, p := range faults {
		a.faults[p] = true
	}
	m.world.sessions++
	a.session = fmt.Sprintf("session-%d", m.world.sessions)
	notes, err := migrate.OpenNotes(m.state)
	if err != nil {
		m.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(m.t.Output(), nil)).With("on", m.name)
	}
	a.node = &migrate.Node{
		ID: m.id, Store: &client{m.world.state, m.id, a.alive}, Peers: &peerLinks{a}, Pools: m.pools(),
		Streams: &transfer.Dialer{
			TLS:      func(p cluster.NodeID) *tls.Config { return pki.ClientTLS(m.creds, pki.ExpectNode(p)) },
			DialNet:  m.dial,
			RetryFor: 2 * time.Second,
		},
		Engine: m.eng, Network: m.net, Exposer: &exposing{m}, Notes: notes, Log: log,
		View: a.view, Fault: a.reach,
		PortsInUse: func(context.Context) (map[string]string, error) { return m.inUse, nil },
	}
	a.server = &transfer.Server{Receive: a.node.ReceiveStream, Log: log, ResumeFor: 200 * time.Millisecond}
	m.mu.Lock()
	m.agent = a
	m.mu.Unlock()
	m.world.state.change(func(d *cluster.Desired) {
		n := d.Nodes[m.id]
		n.ID, n.Name, n.Session, n.AgentAddress = m.id, m.name, a.session, m.world.addrs[m.id]
		n.Protocol, n.BootID = cluster.ProtocolVersion, fmt.Sprint(m.boot)
		d.Nodes[m.id] = n
	})
	a.running.Go(a.loop)
	return a
}

func (a *miniAgent) alive() bool { return a.ctx.Err() == nil }

// reach ends the process at the points that the test chose.
func (a *miniAgent) reach(point string) {
	a.mu.Lock()
	dies := a.faults[point]
	delete(a.faults, point)
	a.mu.Unlock()
	if dies {
		panic(crash{point})
	}
	if !a.alive() {
		panic(crash{"after its death"})
	}
}

// guard runs a part of the process; a crash in it kills the whole process.
func (a *miniAgent) guard(f func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case crash:
			a.kill()
			a.world.died <- a
			err = errDead
		default:
			panic(r)
		}
	}()
	return f()
}

func (a *miniAgent) observe() (cluster.Observed, error) {
	o := cluster.Observed{
		Node: a.id, BootID: fmt.Sprint(a.boot), Session: a.session,
		Containers: map[string]cluster.Container{}, Claims: map[cluster.MoveID]bool{},
	}
	var err error
	if o.Noted, err = a.node.Notes.List(); err != nil {
		return o, err
	}
	if o.Storage, o.Copies, err = a.pool.Observe(a.ctx); err != nil {
		return o, err
	}
	found, err := a.eng.List(a.ctx)
	if err != nil {
		return o, err
	}
	a.machine.mu.Lock()
	if a.foreign != "" {
		o.Foreign = map[cluster.DatasetID]string{data: a.foreign}
	}
	a.machine.mu.Unlock()
	for _, f := range found {
		if !f.Ours {
			continue
		}
		c := f.Container
		if f.Netns != "" {
			if c.GateOpen, err = a.net.GateOpen(a.ctx, f.Netns); err != nil {
				return o, err
			}
		}
		o.Containers[c.Application] = c
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.claims {
		o.Claims[id] = true
	}
	a.seen = o
	return o, nil
}

func (a *miniAgent) view() (cluster.Desired, cluster.Observed) {
	d, _ := a.world.state.read()
	d.Session = a.session
	a.mu.Lock()
	defer a.mu.Unlock()
	return d, a.seen
}

// loop is the agent's own: look, plan, act.
func (a *miniAgent) loop() {
	for a.alive() {
		desired, changed := a.world.state.read()
		for _, m := range desired.Moves {
			a.node.Notice(m)
		}
		desired.Session = a.session
		seen, err := a.observe()
		if err != nil {
			if a.alive() {
				a.t.Errorf("%s: %v", a.name, err)
			}
			return
		}
		if err := a.node.Settle(desired); err != nil {
			a.fail(err)
		}
		a.world.report(seen)
		quiet := true
		for _, s := range plan.Next(desired, seen) {
			if _, waits := s.(plan.Wait); !waits {
				quiet = false
				a.act(desired, s)
			}
		}
		a.settle(desired, seen)
		a.mu.Lock()
		a.idle = quiet && len(a.claims) == 0
		a.mu.Unlock()
		timer := time.NewTimer(3 * time.Millisecond)
		select {
		case <-a.ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (a *miniAgent) act(desired cluster.Desired, s plan.Step) {
	if run, ok := s.(plan.RunMove); ok {
		a.claimed(run.Move, func() error { return a.node.Run(a.ctx, desired.Moves[run.Move], desired) })
		return
	}
	if resume, ok := s.(plan.ResumeMove); ok {
		a.claimed(resume.Move, func() error {
			_, err := a.node.Resume(a.ctx, api.ResumeRequest{Move: desired.Moves[resume.Move]})
			return err
		})
		return
	}
	err := a.guard(func() error { return a.step(desired, s) })
	if err != nil && a.alive() {
		a.fail(fmt.Errorf("%s of %s: %w", s.Kind(), s.Object(), err))
	}
}

func (a *miniAgent) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.errs = append(a.errs, err)
}

func (a *miniAgent) step(desired cluster.Desired, s plan.Step) error {
	ctx := a.ctx
	switch s := s.(type) {
	case plan.Mount:
		if err := a.pool.SetEpoch(ctx, s.Dataset, s.Epoch, ""); err != nil {
			return err
		}
		_, err := a.pool.Mount(ctx, s.Dataset)
		return err
	case plan.Attach:
		return a.pool.Attach(ctx, s.Dataset)
	case plan.Detach:
		return a.pool.Detach(ctx, s.Dataset)
	case plan.Unmount:
		return a.pool.Unmount(ctx, s.Dataset)
	case plan.DropHead:
		return a.pool.DropHead(ctx, s.Dataset)
	case plan.PruneSnapshot:
		return a.pool.DeleteSnapshot(ctx, s.Dataset, s.Snapshot)
	case plan.CreateContainer:
		app := desired.Applications[s.Application]
		spec, err := a.node.ContainerSpec(app)
		if err != nil {
			return err
		}
		_, err = a.eng.Create(ctx, spec)
		return err
	case plan.StartContainer:
		return a.eng.Start(ctx, s.Application)
	case plan.StopContainer:
		return a.eng.Stop(ctx, s.Application, "", 0)
	case plan.RemoveContainer:
		return a.eng.Remove(ctx, s.Application)
	case plan.OpenGate, plan.CloseGate:
		_, open := s.(plan.OpenGate)
		return a.gate(s.Object()[len("application/"):], open)
	case plan.AbortMove:
		return a.node.Abort(ctx, s.Move, s.Attempt, s.Reason)
	case plan.TakeBackMove:
		return a.node.TakeBack(ctx, s.Move, s.Reason)
	case plan.CleanMove:
		return a.node.Clean(ctx, s.Move)
	default:
		return fmt.Errorf("the test does not know %T", s)
	}
}

func (m *machine) gate(app string, open bool) error {
	found, err := m.eng.List(context.Background())
	i := slices.IndexFunc(found, func(f container.Found) bool { return f.Application == app && f.Netns != "" })
	if i < 0 {
		return errors.Join(err, container.ErrNotFound)
	}
	return m.net.SetGate(context.Background(), found[i].Netns, open)
}

func (a *miniAgent) claimed(id cluster.MoveID, f func() error) {
	a.mu.Lock()
	if a.claims[id] {
		a.mu.Unlock()
		return
	}
	a.claims[id] = true
	a.mu.Unlock()
	a.running.Go(func() {
		err := a.guard(f)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.claims, id)
		if err != nil && a.alive() {
			a.errs = append(a.errs, err)
		}
	})
}

// settle publishes what the plan says, except what a cut-over is deciding on.
func (a *miniAgent) settle(desired cluster.Desired, seen cluster.Observed) {
	want := plan.Publications(desired, seen)
	if !want.Known {
		return
	}
	a.mu.Lock()
	busy := len(a.claims) > 0
	a.mu.Unlock()
	if busy {
		return
	}
	set := map[string]bool{}
	for app := range want.Here {
		set[app] = true
	}
	a.machine.mu.Lock()
	defer a.machine.mu.Unlock()
	a.published = set
}

// exposing is the exposer of a machine.
type exposing struct{ m *machine }

func (e *exposing) Hold(_ context.Context, app cluster.Application) error {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	e.m.held[app.Name] = true
	return nil
}

func (e *exposing) Hide(_ context.Context, app cluster.Application) error {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	delete(e.m.published, app.Name)
	return nil
}

func (e *exposing) Expose(_ context.Context, app cluster.Application, _ cluster.Revision) error {
	if err := e.m.gate(app.Name, true); err != nil {
		return err
	}
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	e.m.published[app.Name] = true
	delete(e.m.held, app.Name)
	return nil
}

// peerLinks carries requests to the agents of other machines.
type peerLinks struct{ from *miniAgent }

func ask[R any](p *peerLinks, what string, to cluster.Node, f func(ctx context.Context, a *miniAgent) (R, error)) (R, error) {
	var none R
	m := p.from.world.machines[to.ID]
	m.mu.Lock()
	a, cut, replies := m.agent, m.cut || p.from.isCut(), m.replies
	m.mu.Unlock()
	if a == nil || !a.alive() || cut {
		return none, errLost
	}
	type answer struct {
		reply R
		err   error
	}
	answers := make(chan answer, 1)
	a.running.Go(func() {
		var out answer
		out.err = a.guard(func() (err error) {
			out.reply, err = f(a.ctx, a)
			return err
		})
		answers <- out
	})
	select {
	case out := <-answers:
		if replies != nil {
			if err := replies(what); err != nil {
				return none, err
			}
		}
		if m.isCut() || p.from.isCut() || errors.Is(out.err, errDead) {
			return none, errLost
		}
		return out.reply, out.err
	case <-p.from.ctx.Done():
		return none, errDead
	}
}

func (m *machine) isCut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cut
}

func (p *peerLinks) Prepare(_ context.Context, to cluster.Node, req api.PrepareRequest) (api.PrepareReply, error) {
	return ask(p, "prepare", to, func(ctx context.Context, a *miniAgent) (api.PrepareReply, error) {
		return a.node.Prepare(ctx, p.from.id, req)
	})
}

func (p *peerLinks) Resume(_ context.Context, to cluster.Node, req api.ResumeRequest) (api.ResumeReply, error) {
	return ask(p, "resume", to, func(ctx context.Context, a *miniAgent) (api.ResumeReply, error) {
		a.mu.Lock()
		if a.claims[req.Move.ID] {
			a.mu.Unlock()
			return api.ResumeReply{}, cluster.ErrConflict
		}
		a.claims[req.Move.ID] = true
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.claims, req.Move.ID)
		}()
		return a.node.Resume(ctx, req)
	})
}

func (p *peerLinks) Discard(_ context.Context, to cluster.Node, m cluster.Move) error {
	_, err := ask(p, "discard", to, func(ctx context.Context, a *miniAgent) (struct{}, error) {
		return struct{}{}, a.node.Discard(ctx, m)
	})
	return err
}
