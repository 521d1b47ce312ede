// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// Limits of the agents' API. A report of 10,000 datasets is well below its own.
const (
	heartbeatEvery = 2 * time.Second
	maxAgentBody   = 64 << 20
)

// agents is the part of the control service that agents talk to.
type agents interface {
	agentSessions
	Observe(ctx context.Context, node cluster.NodeID, r ObservedReport) error
	Transition(ctx context.Context, node cluster.NodeID, move cluster.MoveID, t MoveTransition) (cluster.Move, error)
	ReportProgress(ctx context.Context, node cluster.NodeID, p cluster.MoveProgress) error
	ReportSnapshots(ctx context.Context, node cluster.NodeID, r SnapshotReport) (SnapshotReply, error)
	agentVolumes
}

// agentSessions are how a node is known to be alive, and told what should be.
type agentSessions interface {
	OpenSession(ctx context.Context, node cluster.NodeID, r SessionRequest) (Session, error)
	Feed(ctx context.Context, node cluster.NodeID, session string, from cluster.Revision, send func(WatchEvent) error) error
	Renew(ctx context.Context, node cluster.NodeID, r RenewRequest) (RenewReply, error)
}

// AgentHandler serves the agents' API: each node acts for itself only.
func AgentHandler(control agents, identify Identify, log *slog.Logger) http.Handler {
	h := agentHandler{control: control, access: access{identify, pki.NewRefusals(log)}, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /agent/v1/session", h.session)
	mux.HandleFunc("GET /agent/v1/watch", h.watch)
	mux.HandleFunc("PUT /agent/v1/observed", h.observed)
	mux.HandleFunc("POST /agent/v1/moves/{move}", h.transition)
	mux.HandleFunc("PUT /agent/v1/progress", h.progress)
	mux.HandleFunc("PUT /agent/v1/snapshots", h.snapshots)
	mux.HandleFunc("POST /agent/v1/renew", h.renew)
	h.registerVolumes(mux)
	return http.MaxBytesHandler(mux, maxAgentBody)
}

type agentHandler struct {
	control agents
	access  access
	log     *slog.Logger
}

func (h agentHandler) session(w http.ResponseWriter, r *http.Request) {
	answer(w, r, h.access.node, func(id pki.Identity, q SessionRequest) (Session, error) {
		return h.control.OpenSession(r.Context(), id.Node, q)
	})
}

func (h agentHandler) observed(w http.ResponseWriter, r *http.Request) {
	answer(w, r, h.access.node, func(id pki.Identity, q ObservedReport) (struct{}, error) {
		if n := q.Observed.Node; n != "" && n != id.Node {
			return struct{}{}, h.access.refuse(id, fmt.Errorf("it reports for node %s", n))
		}
		return struct{}{}, h.control.Observe(r.Context(), id.Node, q)
	})
}

func (h agentHandler) transition(w http.ResponseWriter, r *http.Request) {
	answer(w, r, h.access.node, func(id pki.Identity, q MoveTransition) (cluster.Move, error) {
		return h.control.Transition(r.Context(), id.Node, cluster.MoveID(r.PathValue("move")), q)
	})
}

func (h agentHandler) progress(w http.ResponseWriter, r *http.Request) {
	answer(w, r, h.access.node, func(id pki.Identity, q cluster.MoveProgress) (struct{}, error) {
		return struct{}{}, h.control.ReportProgress(r.Context(), id.Node, q)
	})
}

func (h agentHandler) snapshots(w http.ResponseWriter, r *http.Request) {
	answer(w, r, h.access.node, func(id pki.Identity, q SnapshotReport) (SnapshotReply, error) {
		return h.control.ReportSnapshots(r.Context(), id.Node, q)
	})
}

func (h agentHandler) renew(w http.ResponseWriter, r *http.Request) {
	answer(w, r, h.access.node, func(id pki.Identity, q RenewRequest) (RenewReply, error) {
		return h.control.Renew(r.Context(), id.Node, q)
	})
}

func (h agentHandler) watch(w http.ResponseWriter, r *http.Request) {
	id, err := h.access.node(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	from, err := revisionParameter(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	s := newStream(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	beats := s.heartbeats(ctx, cancel)
	err = h.control.Feed(ctx, id.Node, r.URL.Query().Get("session"), from, func(e WatchEvent) error { return s.send(e) })
	cancel()
	<-beats
	if !s.begun() {
		WriteError(w, err)
		return
	}
	if err != nil && r.Context().Err() == nil {
		h.log.Info("an agent's stream ended", "node", id.Node, "reason", err)
	}
}

func revisionParameter(r *http.Request) (cluster.Revision, error) {
	text := r.URL.Query().Get("revision")
	if text == "" {
		return 0, nil
	}
	rev, err := strconv.ParseInt(text, 10, 64)
	if err != nil || rev < 0 {
		return 0, &cluster.FieldError{Field: "revision", Problem: fmt.Sprintf("%q is not a revision", text)}
	}
	return cluster.Revision(rev), nil
}

// answer reads a JSON request and writes a JSON reply.
func answer[Q, A any](w http.ResponseWriter, r *http.Request, who func(*http.Request) (pki.Identity, error), do func(pki.Identity, Q) (A, error)) {
	id, err := who(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	var q Q
	if err := readJSON(r.Body, &q); err != nil {
		WriteError(w, err)
		return
	}
	a, err := do(id, q)
	if err != nil {
		WriteError(w, err)
		return
	}
	writeJSON(w, a)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone when this fails
}

// readJSON reads exactly one document with known fields only.
func readJSON(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return &Problem{Status: http.StatusRequestEntityTooLarge, Code: "invalid", Title: "request too large", Detail: err.Error()}
		}
		return fmt.Errorf("read the request: %w: %w", cluster.ErrInvalid, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the request: %w: something follows the document", cluster.ErrInvalid)
	}
	return nil
}

// jsonStream is an answer of one JSON document a line, each sent at once.
type jsonStream struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	started bool
}

func newStream(w http.ResponseWriter) *jsonStream { return &jsonStream{w: w} }

func (s *jsonStream) send(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.WriteHeader(http.StatusOK)
		s.started = true
	}
	if err := json.NewEncoder(s.w).Encode(v); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}

func (s *jsonStream) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// heartbeats sends empty documents once the stream has begun, and cancels when the peer is gone.
func (s *jsonStream) heartbeats(ctx context.Context, cancel context.CancelFunc) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-time.After(NextBeat(time.Now(), heartbeatEvery)):
			case <-ctx.Done():
				return
			}
			if s.begun() && s.send(struct{}{}) != nil {
				cancel()
				return
			}
		}
	}()
	return done
}
