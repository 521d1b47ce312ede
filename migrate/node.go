// SPDX-License-Identifier: Apache-2.0

// Package migrate carries out moves: the source's straight function from the first
// check to the last clean-up, and the target's answers to it.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"

	"golang.org/x/time/rate"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/transfer"
)

// store is the control service as a move needs it. A transition that was refused by
// its compare is cluster.ErrConflict and carries the move as it is (api.CurrentMove);
// after any other error its outcome is unknown, unless the error says that it was never possible.
type store interface {
	Transition(ctx context.Context, id cluster.MoveID, t api.MoveTransition) (cluster.Move, error)
	Progress(ctx context.Context, p cluster.MoveProgress) error
}

// peers reach the agents of other nodes.
type peers interface {
	Prepare(ctx context.Context, to cluster.Node, req api.PrepareRequest) (api.PrepareReply, error)
	Resume(ctx context.Context, to cluster.Node, req api.ResumeRequest) (api.ResumeReply, error)
	Discard(ctx context.Context, to cluster.Node, m cluster.Move) error
}

// streams open ways for data to other nodes.
type streams interface {
	Open(ctx context.Context, addr string, peer cluster.NodeID, h transfer.Header, limit *rate.Limiter) (*transfer.Stream, error)
}

// exposer makes an application heard and unheard without waiting for the agent's loop.
type exposer interface {
	// Hold lets new connections to the application wait, until Expose here or on another node; established ones go on.
	Hold(ctx context.Context, application cluster.Application) error
	// Hide keeps the application from being heard from this node.
	Hide(ctx context.Context, application cluster.Application) error
	// Expose opens the gate and lets the application be heard from here, after a commit stored at that revision.
	Expose(ctx context.Context, application cluster.Application, committed cluster.Revision) error
}

// gates keeps traffic from a network namespace, and looks inside it.
type gates interface {
	SetGate(ctx context.Context, netns string, open bool) error
	GateOpen(ctx context.Context, netns string) (bool, error)
	DialInside(ctx context.Context, netns string, port int) error
	TalkInside(ctx context.Context, netns string, port int, talk func(net.Conn) error) error
}

// Node carries out one node's part in moves. All fields but Fault must be set before
// its first use.
type Node struct {
	ID      cluster.NodeID
	Store   store
	Peers   peers
	Streams streams
	Pools   *backend.Pools
	Engine  container.Engine
	Network gates
	Exposer exposer
	Notes   *Notes
	Log     *slog.Logger
	// View is what the agent knows now: what should be, and its last complete look at the node.
	View func() (cluster.Desired, cluster.Observed)
	// PortsInUse names who listens on the host's ports, by "5432/tcp".
	PortsInUse func(ctx context.Context) (map[string]string, error)
	// Fault, where set, is called at each point of Points; tests and drills end the process there.
	Fault func(point string)

	mu       sync.Mutex
	running  map[cluster.MoveID]*running
	prepared map[cluster.MoveID]*preparation
	reports  map[cluster.MoveID]*cluster.MoveReport
	outcomes map[cluster.MoveID]api.ResumeReply // of moves resumed here, for a source that asks again
}

// running is a move whose function runs in this process.
type running struct {
	cancel  context.CancelCauseFunc
	news    chan struct{} // one slot: something newer is in latest
	latest  cluster.Move
	outside bool // the hand-over may have been sent: nothing cancels any more
}

var (
	errCancelled = errors.New("cancelled")
	errRunning   = errors.New("its function runs in this process already")
)

// claim makes this call the only one that works on a move.
func (n *Node) claim(ctx context.Context, id cluster.MoveID) (context.Context, *running, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, taken := n.running[id]; taken {
		return ctx, nil, fmt.Errorf("move %s: %w: %w", id, errRunning, cluster.ErrConflict)
	}
	if n.running == nil {
		n.running = map[cluster.MoveID]*running{}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c := &running{cancel: cancel, news: make(chan struct{}, 1)}
	n.running[id] = c
	return ctx, c, nil
}

func (n *Node) unclaim(id cluster.MoveID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running[id].cancel(nil)
	delete(n.running, id)
}

// Claims are the moves whose functions run in this process.
func (n *Node) Claims() map[cluster.MoveID]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	claims := map[cluster.MoveID]bool{}
	for id := range n.running {
		claims[id] = true
	}
	return claims
}

// Notice tells a running move what the store says of it: a request to cancel is
// obeyed at once, and a commit is believed without the target's word.
func (n *Node) Notice(m cluster.Move) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, ok := n.running[m.ID]
	if !ok || m.Revision <= c.latest.Revision {
		return
	}
	c.latest = m
	if !c.outside && (m.CancelRequested || m.Phase.Terminal()) {
		c.cancel(errCancelled)
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// send marks the point from which nothing cancels a move.
func (n *Node) send(c *running) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.outside = true
}

func (n *Node) latest(c *running) cluster.Move {
	n.mu.Lock()
	defer n.mu.Unlock()
	return c.latest
}

// ContainerSpec is an application as this node runs it.
func (n *Node) ContainerSpec(app cluster.Application) (container.Spec, error) {
	address, err := netip.ParseAddr(app.Address)
	if err != nil {
		return container.Spec{}, fmt.Errorf("address of application %s: %w", app.Name, err)
	}
	spec := container.Spec{Application: app, Address: address}
	for _, v := range app.Volumes {
		spec.Mounts = append(spec.Mounts, container.Mount{
			Dataset:  v.Dataset,
			Source:   filepath.Join(n.Pools.MountPath(v.Dataset), backend.DataDir),
			Target:   v.MountPoint,
			ReadOnly: v.ReadOnly,
		})
	}
	return spec, nil
}

// netns finds an application's network namespace.
func (n *Node) netns(ctx context.Context, app string) (string, error) {
	found, err := n.Engine.List(ctx)
	if err != nil {
		return "", err
	}
	for _, f := range found {
		if f.Ours && f.Application == app && f.Netns != "" {
			return f.Netns, nil
		}
	}
	return "", fmt.Errorf("network namespace of application %s: %w", app, container.ErrNotFound)
}
