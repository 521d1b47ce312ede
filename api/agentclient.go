// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// silence is how long a stream may be without a heartbeat before it is taken for dead.
const silence = 3*heartbeatEvery + time.Second

// answerWithin bounds the wait for the beginning of an answer to an agent, so that it asks the next endpoint.
const answerWithin = 15 * time.Second

// AgentClient is an agent's connection to the control service. It is safe for concurrent use.
type AgentClient struct {
	control *endpoints
}

// NewAgentClient talks to the control service at any of the endpoints (host:port), as the node of config's certificate.
func NewAgentClient(hosts []string, config *tls.Config) *AgentClient {
	return &AgentClient{control: newEndpoints(hosts, config, answerWithin)}
}

// Close ends idle connections.
func (c *AgentClient) Close() { c.control.close() }

// OpenSession opens the node's session. It may be repeated with the same process.
func (c *AgentClient) OpenSession(ctx context.Context, r SessionRequest) (Session, error) {
	var s Session
	err := c.control.do(ctx, call{method: http.MethodPost, path: "/agent/v1/session", body: r, repeatable: true}, &s)
	return s, err
}

// Report sends what the node sees. It is repeated on other endpoints until one takes it.
func (c *AgentClient) Report(ctx context.Context, r ObservedReport) error {
	return c.control.do(ctx, call{method: http.MethodPut, path: "/agent/v1/observed", body: r, repeatable: true}, nil)
}

// Progress sends a move's progress.
func (c *AgentClient) Progress(ctx context.Context, p cluster.MoveProgress) error {
	return c.control.do(ctx, call{method: http.MethodPut, path: "/agent/v1/progress", body: p, repeatable: true}, nil)
}

// Transition asks for a move's next phase. An error that is cluster.ErrUnavailable leaves the outcome unknown:
// the request may still be delivered. A refusal carries the move as it is now, see CurrentMove.
// Only an abort is asked of every endpoint; it is safe to be done twice.
func (c *AgentClient) Transition(ctx context.Context, id cluster.MoveID, t MoveTransition) (cluster.Move, error) {
	var m cluster.Move
	err := c.control.do(ctx, call{
		method: http.MethodPost, path: "/agent/v1/moves/" + url.PathEscape(string(id)), body: t, repeatable: t.Action == ActionAbort,
	}, &m)
	return m, err
}

// ReportSnapshots tells what was taken. It may be repeated, and is, on other endpoints until one takes it.
func (c *AgentClient) ReportSnapshots(ctx context.Context, r SnapshotReport) (SnapshotReply, error) {
	var reply SnapshotReply
	err := c.control.do(ctx, call{method: http.MethodPut, path: "/agent/v1/snapshots", body: r, repeatable: true}, &reply)
	return reply, err
}

// Renew asks which of its applications the node may let be heard for another while.
func (c *AgentClient) Renew(ctx context.Context, r RenewRequest) (RenewReply, error) {
	var reply RenewReply
	err := c.control.do(ctx, call{method: http.MethodPost, path: "/agent/v1/renew", body: r, repeatable: true}, &reply)
	return reply, err
}

// Watch reads the session's stream, from the revision that the caller has (0: none), until it breaks or fn fails.
// cluster.ErrPrecondition says that the session is over: then nothing read in it counts any more.
func (c *AgentClient) Watch(ctx context.Context, session string, from cluster.Revision, fn func(WatchEvent) error) error {
	q := url.Values{"session": {session}}
	if from > 0 {
		q.Set("revision", strconv.FormatInt(int64(from), 10))
	}
	resp, err := c.control.open(ctx, call{method: http.MethodGet, path: "/agent/v1/watch", query: q, repeatable: true})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return lines(ctx, resp.Body, silence, func(line []byte) error {
		var e WatchEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read a change: %w", err)
		}
		return fn(e)
	})
}
