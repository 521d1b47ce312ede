// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/pki"
)

// Server is a control process: the store, the service over it, and its two listeners.
type Server struct {
	Store       store.Options
	Credentials *pki.Credentials // of the control service
	// Authority signs nodes that join; nil where its key is kept elsewhere, and then tokens are off.
	Authority *pki.Authority
	Users     net.Listener // for users, api.ControlPort
	Agents    net.Listener // for agents, api.AgentPort
	// Fabric is the cluster network, kept at the first start; what is empty is the stored one, else the default.
	Fabric  cluster.Fabric
	Version string
	Log     *slog.Logger
	// Clock tells the time of day; the machine's when nil.
	Clock func() time.Time
	// Ready is called, when set, once the service answers.
	Ready func(*Service)
}

// Run serves until ctx ends. Both listeners are closed when it returns.
func (s *Server) Run(ctx context.Context) (err error) {
	defer closeListeners(s.Users, s.Agents)
	st, err := store.Open(ctx, s.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	marker := store.NewMarker(s.Store.Dir)
	meta, err := st.Incarnate(ctx, marker, s.Credentials.Identity().Cluster)
	if err != nil {
		return err
	}
	if want := s.Credentials.Identity().Cluster; meta.Cluster != want {
		return fmt.Errorf("the store in %s belongs to cluster %s, the certificates to %s: %w", s.Store.Dir, meta.Cluster, want, cluster.ErrConflict)
	}
	if meta.Unconfirmed {
		s.Log.Warn("the store is older than it was: it was restored from a backup; agents only report until an operator confirms it")
	}
	return s.serve(ctx, st, marker, meta)
}

func (s *Server) serve(ctx context.Context, st *store.Store, marker store.Marker, meta store.Meta) error {
	peers := api.NewPeerClient(func(id cluster.NodeID) *tls.Config {
		return pki.ClientTLS(s.Credentials, pki.ExpectNode(id))
	})
	defer peers.Close()
	service := NewService(st, peers, s.Version, s.Log)
	if s.Clock != nil {
		service.now = s.Clock
	}
	if err := service.EnsureFabric(ctx, s.Fabric); err != nil {
		return err
	}
	refusals := pki.NewRefusals(s.Log)
	g, ctx := errgroup.WithContext(ctx)
	users := newHTTPServer(ctx, api.UserHandler(s.services(service), api.IdentifyTLS, s.Log))
	agents := newHTTPServer(ctx, api.AgentHandler(service, api.IdentifyTLS, s.Log))
	userTLS := pki.ServerTLS(s.Credentials, pki.ServerOptions{Anonymous: true}) // who joins has no certificate yet
	agentTLS := pki.ServerTLS(s.Credentials, pki.ServerOptions{Kinds: []pki.Kind{pki.KindNode}})
	g.Go(func() error {
		return serveUntil(ctx, users, pki.Listen(s.Users, userTLS, refusals.Handshake))
	})
	g.Go(func() error {
		return serveUntil(ctx, agents, pki.Listen(s.Agents, agentTLS, refusals.Handshake))
	})
	saver := newSaver(marker, meta.Incarnation, s.Log)
	g.Go(func() error { return saver.run(ctx) })
	g.Go(func() error { return service.Keep(ctx, saver.note) })
	g.Go(func() error { return service.Tend(ctx) })
	g.Go(func() error {
		select {
		case err := <-st.Failed():
			return fmt.Errorf("the embedded etcd stopped: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if s.Ready != nil {
		s.Ready(service)
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (s *Server) services(service *Service) api.Services {
	var j Joining
	if s.Authority != nil {
		j.Joiner = &pki.Joiner{Authority: s.Authority, Tokens: tokens{service.store, service.now}}
	}
	return api.Services{
		Datasets: service, Snapshots: service, Schedules: service, Applications: service, Moves: service, Leases: service, Nodes: service,
		Overview: service, Recovery: service, Joining: j,
	}
}

// newHTTPServer notices within seconds that a peer is dead: sessions end with their streams.
func newHTTPServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 4 * time.Second, PingTimeout: 3 * time.Second},
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // handshakes are told by pki.Listen
	}
}

func serveUntil(ctx context.Context, srv *http.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		_ = srv.Close() // nothing is left to be done for the connections
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return ctx.Err()
}

func closeListeners(ls ...net.Listener) {
	for _, l := range ls {
		if l != nil {
			_ = l.Close() // closed already in the usual case
		}
	}
}

// saver moves the marker on, at most once a second while there are changes.
type saver struct {
	marker      store.Marker
	incarnation string
	latest      chan cluster.Revision
	log         *slog.Logger
}

func newSaver(m store.Marker, incarnation string, log *slog.Logger) *saver {
	return &saver{marker: m, incarnation: incarnation, latest: make(chan cluster.Revision, 1), log: log}
}

// note has one caller at a time.
func (s *saver) note(rev cluster.Revision) {
	select {
	case <-s.latest:
	default:
	}
	s.latest <- rev
}

func (s *saver) run(ctx context.Context) error {
	for {
		select {
		case rev := <-s.latest:
			if err := s.marker.Save(s.incarnation, rev); err != nil {
				s.log.Error("could not note the store's revision", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
