// SPDX-License-Identifier: Apache-2.0

// Package store keeps the cluster's durable state on etcd: typed records,
// optimistic transactions over them and a watch from any revision. Embedded and
// external etcd are reached through one client.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/flocker-project/flocker/cluster"
)

// DefaultPrefix is where the records live.
const DefaultPrefix = "/flocker/v1/"

// Store is the cluster's state.
type Store struct {
	client *clientv3.Client
	server *embedded // nil with external endpoints
	prefix string
	maxOps int
	turn   sync.RWMutex // held alone by a transaction that has lost often
}

// MaxOps is the number of operations that one transaction can hold.
func (s *Store) MaxOps() int { return s.maxOps }

// Embedded says whether the state is in this process's own data directory.
func (s *Store) Embedded() bool { return s.server != nil }

// Close ends the client and the embedded server.
func (s *Store) Close() error {
	err := s.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // the client's way of saying that it was open until now
	}
	if s.server != nil {
		s.server.close()
	}
	return err
}

// Revision is the store's newest revision, read linearizably.
func (s *Store) Revision(ctx context.Context) (cluster.Revision, error) {
	resp, err := s.client.Get(ctx, s.prefix+string(MetaKey))
	if err != nil {
		return 0, unavailable("read the store's revision", err)
	}
	return cluster.Revision(resp.Header.Revision), nil
}

// Compact forgets the history before rev; a watch from there gets cluster.ErrGone.
func (s *Store) Compact(ctx context.Context, rev cluster.Revision) error {
	if _, err := s.client.Compact(ctx, int64(rev)); err != nil {
		return unavailable(fmt.Sprintf("compact the store at revision %d", rev), err)
	}
	return nil
}

// Grant makes an etcd lease; what is put under it goes when it is not kept alive for ttl.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (int64, error) {
	resp, err := s.client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return 0, unavailable("grant a lease", err)
	}
	return int64(resp.ID), nil
}

// KeepAlive extends a lease once; cluster.ErrNotFound when it is over.
func (s *Store) KeepAlive(ctx context.Context, lease int64) error {
	_, err := s.client.KeepAliveOnce(ctx, clientv3.LeaseID(lease))
	if isLeaseGone(err) {
		return fmt.Errorf("keep lease %x alive: %w", lease, cluster.ErrNotFound)
	}
	if err != nil {
		return unavailable("keep a lease alive", err)
	}
	return nil
}

// Revoke ends a lease and all that was put under it.
func (s *Store) Revoke(ctx context.Context, lease int64) error {
	_, err := s.client.Revoke(ctx, clientv3.LeaseID(lease))
	if err != nil && !isLeaseGone(err) {
		return unavailable("revoke a lease", err)
	}
	return nil
}

// unavailable keeps the cause and says that trying again may help; the outcome of a write is then unknown.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, cluster.ErrUnavailable, err)
}

// Options say where the state lives.
type Options struct {
	// Dir is the data directory of the embedded server and of the restore marker.
	Dir string
	// External names an etcd that the operator runs; nil embeds one.
	External *External
	// Prefix of all keys, DefaultPrefix when empty.
	Prefix string
	Log    *slog.Logger
}

// Open starts the embedded server, or connects to the external one.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.External != nil {
		return openExternal(ctx, o)
	}
	return openEmbedded(ctx, o)
}
