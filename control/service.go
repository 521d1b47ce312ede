// SPDX-License-Identifier: Apache-2.0

// Package control is the control service: it keeps what the cluster should be,
// takes in what nodes observe, and decides every change of ownership as one
// transaction.
package control

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// SessionTTL is how long a session outlives its watch stream.
const SessionTTL = 10 * time.Second

// Service makes every change to the cluster's state. Its methods may be called concurrently.
type Service struct {
	store    *store.Store
	log      *slog.Logger
	now      func() time.Time
	instance string // this process among control processes
	peers    peers  // nil where no agent is reached
	version  string

	mu      sync.Mutex
	streams map[cluster.NodeID]*stream
}

// peers reach the nodes' agents.
type peers interface {
	Preflight(ctx context.Context, n cluster.Node, m cluster.Move) (api.PreflightReport, error)
	Storage(ctx context.Context, n cluster.Node) (api.StorageReport, error)
	Logs(ctx context.Context, n cluster.Node, application string, lines int) (io.ReadCloser, error)
}

// NewService returns the service over a store.
func NewService(s *store.Store, p peers, version string, log *slog.Logger) *Service {
	return &Service{
		store:    s,
		peers:    p,
		version:  version,
		log:      log,
		now:      func() time.Time { return time.Now().UTC() },
		instance: uuid.NewString(),
		streams:  map[cluster.NodeID]*stream{},
	}
}

// incarnation reads which life of the store this is.
func (s *Service) incarnation(ctx context.Context) (store.Meta, error) {
	var meta store.Meta
	_, err := s.store.Read(ctx, func(tx *store.Tx) (err error) {
		meta, err = store.Get(ctx, tx, store.MetaKey)
		return err
	})
	return meta, err
}
