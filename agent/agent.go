// SPDX-License-Identifier: Apache-2.0

// Package agent is a node's agent: it looks at what is on the node, asks the
// planner what to do next, does it, and reports.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/converge"
	"github.com/flocker-project/flocker/internal/filecopy"
	"github.com/flocker-project/flocker/migrate"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/transfer"
)

// Network is the node's network as the agent uses it; network.Network and its in-memory twin have it.
type Network interface {
	// Join makes this node part of the cluster network; the container runtime has its part of it already.
	Join(ctx context.Context, f network.Fabric) error
	gates
	hearing
	keeping
	Listening(ctx context.Context) (map[network.Port]string, error)
	// Publish leads the node's ports to applications, wherever they are.
	Publish(ctx context.Context, set []network.Publication) error
}

// hearing decides which applications are heard from this node, by their addresses.
type hearing interface {
	Live(ctx context.Context, addrs []netip.Addr) error
	Lives(ctx context.Context) ([]netip.Addr, error)
	Enliven(ctx context.Context, addr netip.Addr) error
	Deaden(ctx context.Context, addr netip.Addr) error
	waiting
	confining
}

// confining keeps applications from being heard without the control service's word, or from nodes that they were taken over from.
type confining interface {
	// Pin fixes the places of applications on other nodes, by the nodes' addresses, or here.
	Pin(ctx context.Context, places map[netip.Addr]netip.Addr) error
	Confine(ctx context.Context, addrs []netip.Addr) error
	Confined(ctx context.Context) ([]netip.Addr, error)
	Ask(ctx context.Context, limit time.Duration) error
	Allow(ctx context.Context, addrs []netip.Addr, limit time.Duration) error
}

// waiting decides what becomes of connections to applications that are nowhere right now.
type waiting interface {
	Hold(ctx context.Context, addr netip.Addr, limit time.Duration) error
	Holds(ctx context.Context) ([]netip.Addr, error)
	Refuse(ctx context.Context, addrs []netip.Addr, limit time.Duration) error
	Silent(ctx context.Context, addrs []netip.Addr, wait time.Duration) ([]netip.Addr, error)
}

// gates keep traffic from a container's network namespace, and look inside it.
type gates interface {
	SetGate(ctx context.Context, netns string, open bool) error
	GateOpen(ctx context.Context, netns string) (bool, error)
	DialInside(ctx context.Context, netns string, port int) error
	TalkInside(ctx context.Context, netns string, port int, talk func(net.Conn) error) error
}

// link is the connection to the control service.
type link interface {
	sessions
	Report(ctx context.Context, r api.ObservedReport) error
	Transition(ctx context.Context, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error)
	Progress(ctx context.Context, p cluster.MoveProgress) error
	ReportSnapshots(ctx context.Context, r api.SnapshotReport) (api.SnapshotReply, error)
}

// sessions are how the node is known to be alive, and told what should be.
type sessions interface {
	OpenSession(ctx context.Context, req api.SessionRequest) (api.Session, error)
	Watch(ctx context.Context, session string, from cluster.Revision, deliver func(api.WatchEvent) error) error
	Renew(ctx context.Context, r api.RenewRequest) (api.RenewReply, error)
}

// Config is what an agent is made from. Every field but Fault and Checks is needed.
type Config struct {
	Node    cluster.NodeID
	Self    api.SessionRequest // name, addresses, boot, version
	Link    link
	Pools   *backend.Pools
	Engine  container.Engine
	Network Network
	// IPv6 says why applications cannot have IPv6 here; nil where they can. It is asked often.
	IPv6  func() error
	Notes *migrate.Notes
	// Peers reach other nodes' agents; Streams carry data to them.
	Peers   *api.PeerClient
	Streams *transfer.Dialer
	// Checks, where set, looks for what the storage needs on this node; it is told what each back end said of itself.
	Checks func(ctx context.Context, held backend.Contents) []api.Check
	// Copy makes a folder on one filesystem what a folder on another is; filecopy.Copy does.
	Copy func(ctx context.Context, from, to string, told func(filecopy.State) error) error
	// Fault, where set, is called at the named points of a move; drills end the process there.
	Fault func(point string)
	Log   *slog.Logger
}

// Agent runs a node. Make it with New, then Run it.
type Agent struct {
	Config
	mover *migrate.Node

	mirror  *mirror
	objects *objects
	status  *statuses
	expose  *exposure
	lives   *lives
	ready   *readiness
	taken   *taken
	// listeners is who uses the node's ports besides applications.
	listeners   *listeners
	unreachable *unreachable
	term        *term
	wake        *converge.Waker

	member chan struct{} // closed once this node has joined

	// Of the loop alone.
	pins   pins
	joined network.Fabric   // the cluster network that this node is part of; none once the runtime was away
	names  map[string]named // what each holder was told

	mu       sync.Mutex
	observed cluster.Observed // the last complete look
	active   map[cluster.MoveID]*transitions
	places   map[string]string // each application's network namespace
}

// New makes an agent, with the part of it that carries out moves.
func New(c Config) *Agent {
	lives, mirror := newLives(), newMirror(c.Node)
	c.Engine = engine{c.Engine, lives, c.Network, mirror}
	a := &Agent{
		Config:  c,
		mirror:  mirror,
		objects: newObjects(),
		status:  newStatuses(),
		wake:    converge.NewWaker(),
		lives:   lives,
		ready:   newReadiness(),
		taken:   newTaken(),
		active:  map[cluster.MoveID]*transitions{},
		places:  map[string]string{},
		names:   map[string]named{},
		member:  make(chan struct{}),

		listeners: &listeners{},
	}
	a.expose = &exposure{agent: a}
	a.unreachable = &unreachable{agent: a, wake: converge.NewWaker()}
	a.term = &term{agent: a, wake: converge.NewWaker()}
	a.pins.agent = a
	a.mover = &migrate.Node{
		ID: c.Node, Store: a, Peers: c.Peers, Streams: c.Streams,
		Pools: c.Pools, Engine: c.Engine, Network: c.Network, Exposer: a.expose, Notes: c.Notes,
		Log: c.Log, Fault: c.Fault, View: a.view, PortsInUse: a.portsInUse,
	}
	return a
}

// Run works until ctx ends, then waits for what it has begun. Containers and
// mounts stay as they are.
func (a *Agent) Run(ctx context.Context) error {
	events, err := a.Engine.Events(ctx)
	if err != nil {
		return fmt.Errorf("listen to the container runtime: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { a.keepSession(ctx); return nil })
	g.Go(func() error { a.forward(ctx, events); return nil })
	g.Go(func() error { a.watchPorts(ctx); return nil })
	g.Go(func() error { return a.unreachable.run(ctx) })
	g.Go(func() error { return a.term.run(ctx) })
	g.Go(func() error {
		loop := converge.Loop{Wake: a.wake, Round: a.round, Rest: a.rest, Log: a.Log}
		return loop.Run(ctx)
	})
	err = g.Wait()
	a.objects.wait()
	a.ready.work.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a *Agent) forward(ctx context.Context, events <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				return
			}
			a.wake.Wake()
		}
	}
}
