// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a control process on loopback with its authority.
type fixture struct {
	t         *testing.T
	authority *pki.Authority
	dir       string
	users     string
	agents    string
	service   *control.Service
	stop      func()
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	authority, err := pki.CreateAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, authority: authority, dir: t.TempDir()}
	f.start()
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *fixture) start() {
	f.t.Helper()
	issued, err := f.authority.IssueControl([]string{"127.0.0.1"})
	if err != nil {
		f.t.Fatal(err)
	}
	listen := func(addr string) net.Listener {
		if addr == "" {
			addr = "127.0.0.1:0"
		}
		var lc net.ListenConfig
		l, err := lc.Listen(f.t.Context(), "tcp", addr)
		if err != nil {
			f.t.Fatal(err)
		}
		return l
	}
	users, agents := listen(f.users), listen(f.agents)
	f.users, f.agents = users.Addr().String(), agents.Addr().String()
	ready := make(chan *control.Service, 1)
	server := control.Server{
		Store:       store.Options{Dir: f.dir, Log: quiet()},
		Credentials: f.credentials(issued, nil),
		Authority:   f.authority,
		Users:       users,
		Agents:      agents,
		Log:         quiet(),
		Ready:       func(s *control.Service) { ready <- s },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	select {
	case f.service = <-ready:
	case err := <-done:
		f.t.Fatalf("the server ended: %v", err)
	}
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("the server ended with %v", err)
		}
		f.stop = func() {}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (f *fixture) credentials(issued pki.Issued, err error) *pki.Credentials {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := pki.NewCredentials(f.authority.CertificatePEM(), issued)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// node is a test's agent.
type node struct {
	f       *fixture
	id      cluster.NodeID
	client  *api.AgentClient
	request api.SessionRequest
	session api.Session
}

func (f *fixture) node(name string) *node {
	f.t.Helper()
	id := cluster.NodeID(uuid.NewString())
	creds := f.credentials(f.authority.IssueNode(id))
	n := &node{
		f: f, id: id,
		client: api.NewAgentClient([]string{f.agents}, pki.ClientTLS(creds, pki.ExpectControl())),
		request: api.SessionRequest{
			Name: name, Address: "127.0.0.1", AgentAddress: "127.0.0.1:4525",
			BootID: uuid.NewString(), Version: "test", Protocol: cluster.ProtocolVersion, Process: uuid.NewString(),
		},
	}
	f.t.Cleanup(n.client.Close)
	n.open()
	return n
}

func (n *node) open() {
	n.f.t.Helper()
	var err error
	if n.session, err = n.client.OpenSession(n.f.t.Context(), n.request); err != nil {
		n.f.t.Fatal(err)
	}
}

// follow watches until the test ends; what it read last is in the channel.
func (n *node) follow(from cluster.Desired) *follower {
	ctx, cancel := context.WithCancel(n.f.t.Context())
	w := &follower{desired: make(chan cluster.Desired, 1), ended: make(chan error, 1), cancel: cancel}
	go func() {
		d := from
		w.ended <- n.client.Watch(ctx, n.session.ID, d.Revision, func(e api.WatchEvent) error {
			d = applied(d, e)
			select {
			case <-w.desired:
			default:
			}
			w.desired <- d
			return nil
		})
	}()
	n.f.t.Cleanup(w.stop)
	return w
}

type follower struct {
	desired chan cluster.Desired
	ended   chan error
	cancel  context.CancelFunc
	over    bool
	last    error // how the stream ended
}

func (w *follower) stop() {
	w.cancel()
	if !w.over {
		w.last = <-w.ended
		w.over = true
	}
}

// until waits for a state that is as wanted.
func (w *follower) until(t *testing.T, what string, ok func(cluster.Desired) bool) cluster.Desired {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case d := <-w.desired:
			if ok(d) {
				return d
			}
		case err := <-w.ended:
			w.over = true
			t.Fatalf("waiting for %s: the stream ended: %v", what, err)
		case <-deadline:
			t.Fatalf("waited 10s for %s", what)
		}
	}
}

// applied is the state after an event, on maps of its own.
func applied(d cluster.Desired, e api.WatchEvent) cluster.Desired {
	if e.Full != nil {
		return *e.Full
	}
	d.Revision = max(d.Revision, e.Revision)
	d.Nodes, d.Datasets, d.Applications = maps.Clone(d.Nodes), maps.Clone(d.Datasets), maps.Clone(d.Applications)
	d.Moves, d.Leases, d.Elsewhere = maps.Clone(d.Moves), maps.Clone(d.Leases), maps.Clone(d.Elsewhere)
	if p := e.Put; p != nil {
		if p.Fabric != (cluster.Fabric{}) {
			d.Fabric = p.Fabric
		}
		for _, v := range p.Nodes {
			d.Nodes[v.ID] = v
		}
		for _, v := range p.Datasets {
			d.Datasets[v.ID] = v
		}
		for _, v := range p.Applications {
			d.Applications[v.Name] = v
		}
		for _, v := range p.Moves {
			d.Moves[v.ID] = v
		}
		if d.Elsewhere == nil {
			d.Elsewhere = map[cluster.NodeID]cluster.Observed{}
		}
		maps.Copy(d.Elsewhere, p.Elsewhere)
	}
	if g := e.Delete; g != nil {
		for _, k := range g.Nodes {
			delete(d.Nodes, k)
			delete(d.Elsewhere, k)
		}
		for _, k := range g.Datasets {
			delete(d.Datasets, k)
		}
		for _, k := range g.Applications {
			delete(d.Applications, k)
		}
		for _, k := range g.Moves {
			delete(d.Moves, k)
		}
	}
	return d
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}
