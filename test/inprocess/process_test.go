// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/agent"
	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/filecopy"
	"github.com/flocker-project/flocker/migrate"
	"github.com/flocker-project/flocker/pki"
	"github.com/flocker-project/flocker/transfer"
)

// process is one process of a node's agent.
type process struct {
	*life
	node   *node
	cancel context.CancelFunc
	done   chan struct{} // it has ended, or what was left of it has unwound

	agent *agent.Agent
	link  *api.AgentClient

	mu    sync.Mutex
	conns []net.Conn // for streams to other nodes
}

// start begins a process of the agent and does not wait for anything.
func (n *node) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{life: newLife(), node: n, cancel: cancel, done: make(chan struct{})}
	n.mu.Lock()
	n.process, n.all = p, append(n.all, p)
	boot := n.boot
	n.mu.Unlock()
	ln := listen(n.w.t, "")
	n.link.leadTo(ln.Addr().String())
	notes, err := migrate.OpenNotes(n.state)
	if err != nil {
		n.w.t.Error(err)
	}
	toNode := func(id cluster.NodeID) *tls.Config { return pki.ClientTLS(n.creds, pki.ExpectNode(id)) }
	link := api.NewAgentClient([]string{n.uplink.address()}, pki.ClientTLS(n.creds, pki.ExpectControl()))
	peers := api.NewPeerClient(toNode)
	storage := func(inner backend.Driver) backend.Driver {
		return &fault.Driver{
			Inner: inner,
			Before: func(op string, _ cluster.DatasetID) error {
				p.begin(op)
				switch trouble := n.trouble.Load(); {
				case n.broken.Load() && inner == backend.Driver(n.disk):
					return errBroken
				case trouble != nil && inner == backend.Driver(n.shared):
					return (*trouble)(op)
				}
				return nil
			},
			After: func(string, cluster.DatasetID) error { p.after(); return nil },
		}
	}
	a := agent.New(agent.Config{
		Node: n.id,
		Self: api.SessionRequest{
			Name: n.name, Address: "127.0.0.1", AgentAddress: n.link.address(),
			BootID: boot, Version: "test", Protocol: cluster.ProtocolVersion, Process: uuid.NewString(),
		},
		Link:   line{link, p},
		Pools:  n.pools(storage),
		Engine: engine{n.engine, p}, Network: wires{n.net, p}, IPv6: func() error { return nil }, Notes: notes,
		Peers: peers, Streams: &transfer.Dialer{TLS: toNode, DialNet: p.dial},
		Checks: func(_ context.Context, held backend.Contents) []api.Check {
			return []api.Check{{Name: "store", OK: held.First.Error == ""}}
		},
		Copy: p.copyFiles,
		Fault: func(point string) {
			p.pass()
			n.w.log.of(n.name).Debug("point", "name", point)
			n.comeTo(point)
			p.pass()
		},
		Log: n.w.log.of(n.name),
	})
	p.agent, p.link = a, link
	go func() {
		defer close(p.done)
		defer link.Close()
		defer peers.Close()
		if err := a.Serve(ctx, ln, n.creds); err != nil && !p.over() {
			n.w.t.Errorf("the agent of %s ended with %v", n.name, err)
		}
	}()
}

// kill is SIGKILL: at once, without any clean-up; the kernel closes what was open. It says whether the process lived.
func (p *process) kill() bool {
	if !p.end() {
		return false
	}
	p.node.link.leadTo("")
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.cancel()
	return true
}

// crash kills the process, and begins the next one after a while.
//
// A process dies once: the second of two crashes must not begin a second agent beside the one that the first begins.
func (p *process) crash(away time.Duration) {
	if p.kill() {
		p.node.w.after(away, p.node.start)
	}
}

// stop ends the process in good order.
func (p *process) stop() {
	p.cancel()
	<-p.done
}

// bury ends the agent for good, lets what stood still at the deaths of its processes unwind, and waits for it.
func (n *node) bury() {
	n.mu.Lock()
	all := n.all
	n.mu.Unlock()
	for _, p := range all {
		p.kill()
		close(p.buried)
	}
	for _, p := range all {
		<-p.done
	}
}

// copyFiles copies what is in a mounted head to another one, a file at a time.
func (p *process) copyFiles(ctx context.Context, from, to string, told func(filecopy.State) error) error {
	of := func(path string) cluster.DatasetID { return cluster.DatasetID(filepath.Base(filepath.Dir(path))) }
	files, err := p.node.diskOf(of(from)).Files(of(from))
	if err != nil {
		return err
	}
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for i, name := range slices.Sorted(maps.Keys(files)) {
		p.begin("copy-file")
		if err := p.node.diskOf(of(to)).Write(of(to), name, files[name]); err != nil {
			return err
		}
		p.after()
		for again := true; again; again = p.node.slow.Load() && !p.over() {
			if err := errors.Join(ctx.Err(), told(filecopy.State{Phase: filecopy.Copying, Done: int64(i), Total: int64(len(files))})); err != nil {
				return err
			}
			<-tick.C
		}
		p.pass()
	}
	return nil
}

// effect passes the process's end before something, and with the function it returns after it.
func (p *process) effect(op string) func() {
	p.begin(op)
	return p.after
}

func (p *process) begin(op string) {
	p.pass()
	p.node.did(op)
	p.node.comeTo(op)
}

// after looks at the truth after something has been done, and does not answer a process that died meanwhile.
func (p *process) after() {
	p.node.w.lookAtTruth()
	p.pass()
}

func (p *process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if p.over() {
		return nil, net.ErrClosed
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conn)
	return conn, nil
}
