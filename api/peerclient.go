// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/flocker-project/flocker/cluster"
)

// PeerClient talks to nodes' agents: as another agent, or as the control service. It is safe for concurrent use.
type PeerClient struct {
	tlsFor func(cluster.NodeID) *tls.Config
	mu     sync.Mutex
	peers  map[cluster.NodeID]*endpoints
}

// NewPeerClient makes a client; tlsFor gives the configuration that accepts exactly that node.
func NewPeerClient(tlsFor func(cluster.NodeID) *tls.Config) *PeerClient {
	return &PeerClient{tlsFor: tlsFor, peers: map[cluster.NodeID]*endpoints{}}
}

// Close ends idle connections.
func (c *PeerClient) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		p.close()
	}
	clear(c.peers)
}

// Prepare asks a target to get ready for a move.
func (c *PeerClient) Prepare(ctx context.Context, n cluster.Node, r PrepareRequest) (PrepareReply, error) {
	var reply PrepareReply
	err := c.post(ctx, n, "prepare", r, &reply)
	return reply, err
}

// Resume tells a target that the hand-over is stored, and waits for how it ended.
func (c *PeerClient) Resume(ctx context.Context, n cluster.Node, r ResumeRequest) (ResumeReply, error) {
	var reply ResumeReply
	err := c.post(ctx, n, "resume", r, &reply)
	return reply, err
}

// Discard tells a target that a move is over before it began there.
func (c *PeerClient) Discard(ctx context.Context, n cluster.Node, m cluster.Move) error {
	return c.post(ctx, n, "discard", m, nil)
}

// Preflight asks a source what a move would meet and take.
func (c *PeerClient) Preflight(ctx context.Context, n cluster.Node, m cluster.Move) (PreflightReport, error) {
	var reply PreflightReport
	err := c.post(ctx, n, "preflight", m, &reply)
	return reply, err
}

// Storage asks a node to look at its storage.
func (c *PeerClient) Storage(ctx context.Context, n cluster.Node) (StorageReport, error) {
	var reply StorageReport
	err := c.post(ctx, n, "storage", struct{}{}, &reply)
	return reply, err
}

// Logs are the last lines that an application wrote; the caller closes them.
func (c *PeerClient) Logs(ctx context.Context, n cluster.Node, application string, lines int) (io.ReadCloser, error) {
	resp, err := c.peer(n).open(ctx, call{
		method: http.MethodGet,
		path:   "/peer/v1/applications/" + url.PathEscape(application) + "/logs",
		query:  url.Values{"lines": {strconv.Itoa(lines)}},
	})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c *PeerClient) post(ctx context.Context, n cluster.Node, what string, q, a any) error {
	return c.peer(n).do(ctx, call{method: http.MethodPost, path: "/peer/v1/" + what, body: q}, a)
}

func (c *PeerClient) peer(n cluster.Node) *endpoints {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[n.ID]
	if p == nil || p.hosts[0] != n.AgentAddress {
		if p != nil {
			p.close()
		}
		p = newEndpoints([]string{n.AgentAddress}, c.tlsFor(n.ID), 0)
		c.peers[n.ID] = p
	}
	return p
}
