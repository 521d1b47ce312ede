// SPDX-License-Identifier: Apache-2.0

// Package dockerplugin is Docker's volume plug-in: volumes are datasets, and they follow their containers.
package dockerplugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// local is what this node's agent knows, whether the control service is away or not.
type local interface {
	// State is what was read and seen last, with a channel that is closed when either may have changed.
	State() (cluster.Desired, cluster.Observed, <-chan struct{})
	// Folder is what containers get of a dataset that is mounted here.
	Folder(id cluster.DatasetID) string
	// Users are the running containers that are not Flocker's, by the datasets that they use, looked at now.
	Users(ctx context.Context) (map[cluster.DatasetID]string, error)
}

// control makes every change.
type control interface {
	Volume(ctx context.Context, ref string) (api.DatasetInfo, error)
	CreateVolume(ctx context.Context, r api.DatasetRequest) (cluster.Dataset, error)
	CloneVolume(ctx context.Context, ref string, r api.CloneRequest) (cluster.Dataset, error)
	DeleteVolume(ctx context.Context, ref string) (cluster.Dataset, error)
	placing
}

// placing decides where a volume is.
type placing interface {
	MoveVolume(ctx context.Context, ref string) (cluster.Move, error)
	HoldVolume(ctx context.Context, ref string) (cluster.Lease, error)
	ReleaseVolume(ctx context.Context, ref string) (cluster.Lease, error)
}

// Config is what a plug-in is made from.
type Config struct {
	Node    cluster.NodeID
	Local   local
	Control control
	Log     *slog.Logger
}

// Plugin serves one node's Docker.
type Plugin struct {
	Config
	started time.Time
	kick    chan struct{} // something was unmounted

	mu    sync.Mutex
	holds map[string]*hold // by the volume's name
}

// New makes a plug-in, which does nothing until it is served.
func New(c Config) *Plugin {
	return &Plugin{Config: c, started: time.Now(), kick: make(chan struct{}, 1), holds: map[string]*hold{}}
}

// Serve answers Docker on ln until ctx ends. Volumes that are mounted stay so.
func (p *Plugin) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	srv.BaseContext = func(net.Listener) context.Context { return ctx }
	g.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve Docker on %s: %w", ln.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	g.Go(func() error { p.settle(ctx); return nil })
	return g.Wait()
}

// until waits for a state in which done says so or fails.
func (p *Plugin) until(ctx context.Context, done func(cluster.Desired, cluster.Observed) (bool, error)) error {
	for {
		desired, observed, changed := p.Local.State()
		if ok, err := done(desired, observed); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read waits a little for this node to read what the control service has stored, so that what Docker asks next is answered with it.
func (p *Plugin) read(ctx context.Context, rev cluster.Revision) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	// Where it takes longer, the next answer is an older one; what was asked for is done all the same.
	_ = p.until(ctx, func(desired cluster.Desired, _ cluster.Observed) (bool, error) { return desired.Revision >= rev, nil })
}

// ask bounds one request to the control service: Docker is told soon that it is away.
func ask[A any](ctx context.Context, do func(context.Context, string) (A, error), ref string) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	a, err := do(ctx, ref)
	if said := new(api.Problem); errors.As(err, &said) {
		err = said // without what was asked for by which path
	}
	if err != nil && away(err) {
		err = fmt.Errorf("the control service is not reached: %w", err)
	}
	return a, err
}

// away says whether the control service did not answer.
func away(err error) bool {
	return errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
