// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	netmem "github.com/flocker-project/flocker/network/mem"
	"github.com/flocker-project/flocker/pki"
	"github.com/flocker-project/flocker/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alpha  cluster.NodeID    = "11111111-1111-4111-8111-111111111111"
	beta   cluster.NodeID    = "22222222-2222-4222-8222-222222222222"
	data   cluster.DatasetID = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	more   cluster.DatasetID = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	moving cluster.MoveID    = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
	image                    = "db:1"
	disk                     = 160 << 20
)

// world is two machines, a store, and a client that writes all the time.
type world struct {
	t        *testing.T
	state    *state
	machines map[cluster.NodeID]*machine
	addrs    map[cluster.NodeID]string
	sessions int
	died     chan *miniAgent
	store    func(cluster.NodeID) *mem.Shelf // nil where the machines keep the data themselves

	mu     sync.Mutex
	acked  []string
	broken []string // what must never be
}

func newWorld(t *testing.T) *world { return newWorldOn(t, nil) }

// newNetworkWorld is a world in which the data is on network storage.
func newNetworkWorld(t *testing.T) *world {
	shelf := mem.NewShelf()
	return newWorldOn(t, func(cluster.NodeID) *mem.Shelf { return shelf })
}

// worlds are both, by what they are called in names of tests.
func worlds() map[string]func(*testing.T) *world {
	return map[string]func(*testing.T) *world{"": newWorld, "network storage: ": newNetworkWorld}
}

func newWorldOn(t *testing.T, store func(cluster.NodeID) *mem.Shelf) *world {
	w := &world{
		store: store,
		t:     t, state: newState(), machines: map[cluster.NodeID]*machine{}, addrs: map[cluster.NodeID]string{},
		died: make(chan *miniAgent, 16),
	}
	ca, err := pki.CreateAuthority("move test")
	if err != nil {
		t.Fatal(err)
	}
	for id, name := range map[cluster.NodeID]string{alpha: "alpha", beta: "beta"} {
		w.add(ca, id, name)
	}
	w.machines[alpha].eng.images[image] = "the image"
	w.machines[beta].eng.registry[image] = "the image"
	w.found()
	t.Cleanup(w.close)
	return w
}

func (w *world) add(ca *pki.Authority, id cluster.NodeID, name string) {
	issued, err := ca.IssueNode(id)
	if err != nil {
		w.t.Fatal(err)
	}
	creds, err := pki.NewCredentials(ca.CertificatePEM(), issued)
	if err != nil {
		w.t.Fatal(err)
	}
	m := &machine{
		t: w.t, id: id, name: name, world: w, disk: mem.New(disk), eng: newEngine(name), creds: creds,
		state: w.t.TempDir(), published: map[string]bool{}, held: map[string]bool{}, conns: map[net.Conn]bool{}, boot: 1,
	}
	m.net = netmem.New(netmem.Config{Dial: func(string, int) error {
		if _, up := m.eng.running("db"); !up {
			return netmem.ErrRefused
		}
		return nil
	}})
	var inner backend.Driver = m.disk
	if w.store != nil {
		attached := w.store(id).Machine(name)
		inner, m.disk = attached, attached.Disk()
	}
	faulty := &fault.Driver{Inner: inner, Before: func(op string, id cluster.DatasetID) error {
		if m.storage == nil {
			return nil
		}
		return m.storage(op, id)
	}, After: func(op string, id cluster.DatasetID) error {
		if m.answer == nil {
			return nil
		}
		return m.answer(op, id)
	}}
	m.pool = backend.NewPool(faulty, backend.Options{Name: "mem", MountRoot: w.t.TempDir()})
	m.eng.mounted = m.disk.Writable
	w.machines[id] = m
	m.listen()
}

func (m *machine) pools() *backend.Pools {
	pools, err := backend.NewPools(m.pool)
	if err != nil {
		m.t.Fatal(err)
	}
	return pools
}

// listen serves transfers with whichever process of the agent lives.
func (m *machine) listen() {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", pki.ServerTLS(m.creds, pki.ServerOptions{NextProtos: []string{transfer.ALPN}}))
	if err != nil {
		m.t.Fatal(err)
	}
	m.world.addrs[m.id] = listener.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			a, cut := m.agent, m.cut
			m.mu.Unlock()
			if a == nil || !a.alive() || cut {
				conn.Close()
				continue
			}
			serving.Go(func() { a.server.ServeConn(a.ctx, conn.(*tls.Conn)) })
		}
	})
	m.t.Cleanup(func() { listener.Close(); serving.Wait() })
}

func (m *machine) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if m.isCut() {
		return nil, errLost
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns[conn] = true
	return conn, nil
}

// unplug breaks the connections between machines; with down they stay broken.
func (m *machine) unplug(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = down
	for c := range m.conns {
		c.Close()
	}
	clear(m.conns)
}

// found makes the application with its data on alpha.
func (w *world) found() {
	a := w.machines[alpha]
	ctx := w.t.Context()
	for _, id := range []cluster.DatasetID{data, more} {
		if err := a.pool.Create(ctx, backend.Spec{Dataset: id, Epoch: 1}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.state.change(func(d *cluster.Desired) {
		for i, id := range []cluster.DatasetID{data, more} {
			d.Datasets[id] = cluster.Dataset{ID: id, Name: fmt.Sprint("set", i), Owner: alpha, Epoch: 1, Born: true, Backend: "mem", Revision: 1}
		}
		d.Applications["db"] = cluster.Application{
			Address: "10.144.0.9",
			Name:    "db", Image: image, Node: alpha, Ports: []cluster.Port{{Internal: 5432, External: 5432}},
			Restart: cluster.RestartPolicy{Name: cluster.RestartAlways},
			Volumes: []cluster.Volume{{Dataset: data, MountPoint: "/data"}, {Dataset: more, MountPoint: "/more"}},
		}
	})
}

// report makes what a node sees known to the others.
func (w *world) report(o cluster.Observed) {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	elsewhere := maps.Clone(w.state.desired.Elsewhere)
	elsewhere[o.Node] = o
	w.state.desired.Elsewhere = elsewhere
}

// serving are the machines on which a client would be heard and could write: the truth behind promise 1.
func (w *world) serving() []*machine {
	var all []*machine
	for _, id := range []cluster.NodeID{alpha, beta} {
		m := w.machines[id]
		m.mu.Lock()
		published := m.published["db"]
		m.mu.Unlock()
		netns, up := m.eng.running("db")
		if !published || !up || !m.disk.Writable(data) {
			continue
		}
		if open, err := m.net.GateOpen(context.Background(), netns); err == nil && open {
			all = append(all, m)
		}
	}
	return all
}

// client writes records, each acknowledged by whoever serves, until ctx ends.
func (w *world) client(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.watchGates()
		to := w.serving()
		if len(to) > 1 {
			w.never("two machines serve at once")
		}
		if len(to) != 1 {
			continue
		}
		w.write(to[0], fmt.Sprintf("record-%06d", i))
	}
}

// watchGates looks for predicate I5: who runs behind an open gate owns, and is not tentative.
func (w *world) watchGates() {
	for _, m := range w.machines {
		netns, up := m.eng.running("db")
		if open, err := m.net.GateOpen(context.Background(), netns); !up || err != nil || !open {
			continue
		}
		d, _ := w.state.read() // after the look: phases only go forward
		if app := d.Applications["db"]; d.Moves[app.Move].Phase == cluster.MoveHandedOver {
			w.never("the gate is open on %s while the move is tentative", m.name)
		}
	}
}

// write is one request; its answer reaches the client only where the process lives and is heard to the end.
func (w *world) write(m *machine, name string) {
	m.eng.mu.Lock() // a process does not stop in the middle of this
	defer m.eng.mu.Unlock()
	c, ok := m.eng.containers["db"]
	if !ok || c.state != cluster.ContainerRunning {
		return
	}
	for _, id := range []cluster.DatasetID{data, more} {
		if m.disk.Write(id, name, []byte(name)) != nil {
			return
		}
	}
	if open, err := m.net.GateOpen(context.Background(), c.netns); err != nil || !open {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = append(w.acked, name)
}

func (w *world) never(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// start boots both agents and waits until the application serves on alpha.
func (w *world) start(faults map[cluster.NodeID][]string) {
	for _, id := range []cluster.NodeID{alpha, beta} {
		w.machines[id].startAgent(faults[id]...)
	}
	w.until("the application serves", func() bool { return len(w.serving()) == 1 })
	ctx, stop := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() { w.client(ctx) })
	w.t.Cleanup(func() { stop(); writing.Wait() })
	w.until("some records are acknowledged", func() bool { return w.ackedCount() > 20 })
}

func (w *world) ackedCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// ask asks for a move of the application.
func (w *world) ask(to cluster.NodeID, change func(*cluster.Move)) cluster.MoveID {
	id := moving
	w.state.change(func(d *cluster.Desired) {
		id = cluster.MoveID(fmt.Sprintf("%s%d", moving[:35], len(d.Moves)))
		app := d.Applications["db"]
		m := cluster.Move{
			ID: id, Phase: cluster.MovePlanned, Mode: cluster.ModeRestart, Source: app.Node, Target: to, Attempt: 1,
			Datasets: []cluster.DatasetID{data, more}, Applications: []string{"db"}, Revision: d.Revision,
			Options: cluster.MoveOptions{ReadyTimeout: cluster.Duration(2 * time.Second)},
		}
		if change != nil {
			change(&m)
		}
		d.Moves[id] = m
		app.Move = id
		d.Applications["db"] = app
		for _, set := range m.Datasets {
			s := d.Datasets[set]
			s.Move = id
			d.Datasets[set] = s
		}
	})
	return id
}

func (w *world) move(id cluster.MoveID) cluster.Move {
	d, _ := w.state.read()
	return d.Moves[id]
}

// onPhase calls f once, as soon as a move is stored to be in a phase.
func (w *world) onPhase(phase cluster.MovePhase, f func()) {
	var once sync.Once
	w.state.stored = func(is cluster.MovePhase) {
		if is == phase {
			once.Do(func() { go f() })
		}
	}
}

const longest = 20 * time.Second

// until waits for a condition; processes that die meanwhile are started again.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(longest)
	for !ok() {
		select {
		case a := <-w.died:
			if a.holdBack != nil && a.holdBack() {
				w.died <- a
				break
			}
			w.revive(a)
		case <-tick.C:
		case <-deadline:
			w.dump()
			w.t.Fatalf("not within %v: %s", longest, what)
		}
	}
}

// revive starts the agent's next process; the dead one's leftovers are waited for, as a kernel does.
func (w *world) revive(a *miniAgent) {
	if a.agent != a {
		return // it died in several of its functions
	}
	a.unplug(a.isCut())
	a.running.Wait()
	a.server.Close()
	if m := a.machine; m.rebootOnDeath {
		m.boot++
		m.eng.reboot()
		m.disk.Reboot()
		m.net.Reboot()
		m.mu.Lock()
		clear(m.published)
		m.mu.Unlock()
	}
	a.startAgent()
}

// end waits until everything has come to rest, and checks the promises.
func (w *world) end(id cluster.MoveID) cluster.Move {
	w.t.Helper()
	w.until("the move ends", func() bool { return w.move(id).Phase.Terminal() })
	w.until("the application serves again", func() bool { return len(w.serving()) == 1 })
	at := w.ackedCount()
	w.until("clients are served again", func() bool { return w.ackedCount() > at+10 })
	w.until("nothing is left to do", func() bool {
		for _, m := range w.machines {
			m.mu.Lock()
			a := m.agent
			m.mu.Unlock()
			a.mu.Lock()
			idle := a.idle && a.alive()
			a.mu.Unlock()
			if !idle {
				return false
			}
		}
		return true
	})
	w.check()
	return w.move(id)
}

// check compares what was acknowledged with what the owner has.
func (w *world) check() {
	w.t.Helper()
	on := w.serving()
	d, _ := w.state.read()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.broken {
		w.t.Error(b)
	}
	for _, id := range []cluster.DatasetID{data, more} {
		files, err := w.machines[d.Datasets[id].Owner].disk.Files(id)
		if err != nil {
			w.t.Fatalf("dataset %s on its owner: %v", id, err)
		}
		for _, name := range w.acked {
			if string(files[name]) != name {
				w.t.Errorf("dataset %s: acknowledged %s is lost (of %d)", id, name, len(w.acked))
				break
			}
		}
	}
	if len(on) == 1 && on[0].id != d.Applications["db"].Node {
		w.t.Errorf("the application serves on %s, the store says %s", on[0].name, d.Applications["db"].Node)
	}
	for _, m := range w.machines {
		noted, err := m.agent.node.Notes.List()
		if err != nil || len(noted) > 0 {
			w.t.Errorf("%s: notes are left: %v %v", m.name, noted, err)
		}
	}
}

func (w *world) dump() {
	d, _ := w.state.read()
	for _, m := range d.Moves {
		w.t.Logf("move %+v", m)
	}
	w.t.Logf("history %v", w.state.history)
	for id, m := range w.machines {
		if m.agent == nil {
			continue
		}
		m.agent.mu.Lock()
		w.t.Logf("%s: claims %v, last errors %v\n  seen %+v", id[:4], m.agent.claims, m.agent.errs[max(0, len(m.agent.errs)-3):], m.agent.seen)
		m.agent.mu.Unlock()
	}
}

func (w *world) close() {
	for _, m := range w.machines {
		if m.agent != nil {
			m.agent.kill()
			m.unplug(true)
			m.agent.running.Wait()
			m.agent.server.Close()
		}
	}
}

func phases(w *world) []cluster.MovePhase {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	return slices.Clone(w.state.history)
}

var errNoAnswer = errors.New("no answer in time")
