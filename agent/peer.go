// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
	"github.com/flocker-project/flocker/transfer"
)

// readOf bounds the wait for a move to reach this node through the control service.
const readOf = 10 * time.Second

// maxPeerBody bounds a request of another agent: a move with its applications.
const maxPeerBody = 4 << 20

// Serve runs the agent, and answers other agents and the control service on ln, until
// ctx ends. Requests come over HTTP, streams of data by their own protocol on the same port.
func (a *Agent) Serve(ctx context.Context, ln net.Listener, creds *pki.Credentials) error {
	streams := &transfer.Server{Receive: a.mover.ReceiveStream, Log: a.Log}
	conf := pki.ServerTLS(creds, pki.ServerOptions{
		Kinds:      []pki.Kind{pki.KindNode, pki.KindControl},
		NextProtos: []string{transfer.ALPN, "http/1.1"},
	})
	srv := &http.Server{
		Handler:           a.peerHandler(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			transfer.ALPN: func(_ *http.Server, c *tls.Conn, _ http.Handler) { streams.ServeConn(ctx, c) },
		},
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error {
		refused := pki.NewRefusals(a.Log)
		err := srv.Serve(pki.Listen(ln, conf, refused.Handshake))
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve other agents on %s: %w", ln.Addr(), err)
	})
	g.Go(func() error {
		<-ctx.Done()
		err := srv.Close()
		streams.Close()
		return err
	})
	return g.Wait()
}

func (a *Agent) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /peer/v1/prepare", answer(a, nodesOnly, a.prepareFor))
	mux.HandleFunc("POST /peer/v1/resume", answer(a, nodesOnly, a.resumeFor))
	mux.HandleFunc("POST /peer/v1/discard", answer(a, nodesOnly, func(ctx context.Context, from pki.Identity, m cluster.Move) (struct{}, error) {
		if m.Source != from.Node {
			return struct{}{}, fmt.Errorf("move %s is not node %s's: %w", m.ID, from.Node, cluster.ErrForbidden)
		}
		return struct{}{}, a.mover.Discard(ctx, m)
	}))
	mux.HandleFunc("POST /peer/v1/preflight", answer(a, controlOnly, func(ctx context.Context, _ pki.Identity, m cluster.Move) (api.PreflightReport, error) {
		desired, _ := a.mirror.read()
		return a.mover.Preflight(ctx, m, desired)
	}))
	mux.HandleFunc("POST /peer/v1/storage", answer(a, controlOnly, func(ctx context.Context, _ pki.Identity, _ struct{}) (api.StorageReport, error) {
		return a.inspectStorage(ctx), nil
	}))
	mux.HandleFunc("GET /peer/v1/applications/{name}/logs", a.serveLogs)
	return mux
}

// resumeFor runs the target's part for the source that has just handed over.
func (a *Agent) resumeFor(ctx context.Context, from pki.Identity, req api.ResumeRequest) (api.ResumeReply, error) {
	m := req.Move
	if m.Source != from.Node || m.Target != a.Node {
		return api.ResumeReply{}, fmt.Errorf("move %s is not from node %s to this one: %w", m.ID, from.Node, cluster.ErrForbidden)
	}
	if err := a.untilMember(ctx); err != nil {
		return api.ResumeReply{}, err
	}
	// The move goes on when the source goes away: from here on it is the target's.
	for {
		reply, err := a.resume(context.WithoutCancel(ctx), req)
		if !errors.Is(err, errClaimed) {
			return reply, err
		}
		// The loop has heard of the hand-over first; how that ends is remembered.
		if err := a.objects.unclaimed(ctx, m.ID); err != nil {
			return reply, err
		}
	}
}

// prepareFor gets ready for another node's move, once this node has read of it: before,
// the loop would take what is prepared for a stray.
func (a *Agent) prepareFor(ctx context.Context, from pki.Identity, req api.PrepareRequest) (api.PrepareReply, error) {
	if req.Move.Revision > 0 {
		wait, cancel := context.WithTimeout(ctx, readOf)
		defer cancel()
		if err := a.mirror.reached(wait, req.Move.Revision); err != nil {
			return api.PrepareReply{}, fmt.Errorf("node %s has not read of move %s yet: %w", a.Self.Name, req.Move.ID, cluster.ErrUnavailable)
		}
	}
	if err := a.untilMember(ctx); err != nil {
		return api.PrepareReply{}, err
	}
	return a.mover.Prepare(ctx, from.Node, req)
}

func (a *Agent) serveLogs(w http.ResponseWriter, r *http.Request) {
	id, err := pki.IdentityOf(*r.TLS)
	if err != nil || !controlOnly(id) {
		api.WriteError(w, fmt.Errorf("logs are for the control service: %w", cluster.ErrForbidden))
		return
	}
	lines, err := strconv.Atoi(r.URL.Query().Get("lines"))
	if err != nil || lines < 1 || lines > 100_000 {
		api.WriteError(w, &cluster.FieldError{Field: "lines", Problem: "must be a number from 1 to 100000"})
		return
	}
	text, err := a.Engine.Logs(r.Context(), r.PathValue("name"), lines)
	if err != nil {
		api.WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := io.WriteString(w, text); err != nil {
		a.Log.Debug("send logs", "error", err)
	}
}

func nodesOnly(id pki.Identity) bool   { return id.Kind == pki.KindNode }
func controlOnly(id pki.Identity) bool { return id.Kind == pki.KindControl }

// answer makes a handler of a function from one JSON value to another.
func answer[Q, R any](a *Agent, may func(pki.Identity) bool, do func(context.Context, pki.Identity, Q) (R, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := pki.IdentityOf(*r.TLS)
		if err != nil || !may(id) {
			a.Log.Warn("request refused", "path", r.URL.Path, "who", id.String())
			api.WriteError(w, fmt.Errorf("%s may not ask for %s: %w", id, r.URL.Path, cluster.ErrForbidden))
			return
		}
		var req Q
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPeerBody))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			api.WriteError(w, &cluster.FieldError{Problem: "body: " + err.Error()})
			return
		}
		reply, err := do(r.Context(), id, req)
		if err != nil {
			api.WriteError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(reply); err != nil {
			a.Log.Debug("answer another agent", "path", r.URL.Path, "error", err)
		}
	}
}
