// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// Limits of the embedded server. An external one has etcd's defaults, see external.go.
const (
	embeddedMaxOps     = 4096
	embeddedMaxRequest = 8 << 20
	embeddedQuota      = 4 << 30
	embeddedRetention  = "1h"
	// A single member elects itself one tick to the election time after its start (etcd advances its clock to one tick before
	// the earliest moment); shorter ticks make the idle process wake more often. The election takes five ticks at least.
	embeddedTick     = 300 // ms
	embeddedElection = 1500
	// The write-ahead log has every write already; the database file may follow in fewer steps.
	embeddedBatch = 2 * time.Second
)

type embedded struct{ etcd *embed.Etcd }

func openEmbedded(ctx context.Context, o Options) (*Store, error) {
	dir := filepath.Join(o.Dir, "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's data directory: %w", err)
	}
	etcd, err := embed.StartEtcd(embeddedConfig(dir, o))
	if err != nil {
		return nil, fmt.Errorf("start the embedded etcd in %s: %w", dir, err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		etcd.Close()
		return nil, fmt.Errorf("start the embedded etcd in %s: %w", dir, err)
	case <-ctx.Done():
		etcd.Close()
		return nil, fmt.Errorf("wait for the embedded etcd in %s: %w", dir, ctx.Err())
	}
	return &Store{
		client: v3client.New(etcd.Server),
		server: &embedded{etcd: etcd},
		prefix: o.Prefix,
		maxOps: embeddedMaxOps,
	}, nil
}

// embeddedConfig opens no port: nobody but this process is a client, and there is no peer.
func embeddedConfig(dir string, o Options) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "control"
	cfg.Dir = dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls, cfg.ListenPeerUrls = nil, nil, nil
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = embeddedTick, embeddedElection
	cfg.BackendBatchInterval = embeddedBatch
	cfg.QuotaBackendBytes = embeddedQuota
	cfg.MaxTxnOps = embeddedMaxOps
	cfg.MaxRequestBytes = embeddedMaxRequest
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = embeddedRetention
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(o.Log))
	return cfg
}

func (e *embedded) close() { e.etcd.Close() }

// Failed delivers the error with which the embedded server stopped by itself; nil channel with an external one.
func (s *Store) Failed() <-chan error {
	if s.server == nil {
		return nil
	}
	return s.server.etcd.Err()
}
