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
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/raft/v3/raftpb"
)

// Limits of the embedded server. An external one has etcd's defaults, see external.go.
const (
	embeddedMaxOps     = 4096
	embeddedMaxRequest = 8 << 20
	embeddedQuota      = 4 << 30
	embeddedRetention  = "1h"
	// An only member needs no ticks but to count leases' time, and each wakes the idle process. An election's time is five
	// ticks at least; sessions are extended by it after a start, so that longer ticks would have a price.
	embeddedTick     = 500 // ms
	embeddedElection = 2500
	// The write-ahead log has every write already; the database file may follow in fewer steps.
	embeddedBatch = 2 * time.Second
	// electAgain is the pause between two tries to be elected.
	electAgain = 5 * time.Millisecond
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
	if err := untilReady(ctx, etcd); err != nil {
		etcd.Close()
		return nil, fmt.Errorf("start the embedded etcd in %s: %w", dir, err)
	}
	return &Store{
		client: v3client.New(etcd.Server),
		server: &embedded{etcd: etcd},
		prefix: o.Prefix,
		maxOps: embeddedMaxOps,
	}, nil
}

// untilReady waits for the server, which has itself elected meanwhile where there is nobody else to ask.
func untilReady(ctx context.Context, etcd *embed.Etcd) error {
	for {
		if err := elect(ctx, etcd.Server); err != nil {
			return err
		}
		select {
		case <-etcd.Server.ReadyNotify():
			return nil
		case err := <-etcd.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(electAgain):
		}
	}
}

// elect makes an only member the leader at once, by the message with which a leader hands over; by itself it would wait for its next
// tick. It is ignored by a leader, and by a member that does not yet know of itself: then it is sent again.
func elect(ctx context.Context, server *etcdserver.EtcdServer) error {
	if len(server.Cluster().Members()) != 1 || server.Leader() != 0 {
		return nil
	}
	self := uint64(server.MemberID())
	return server.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &self, To: &self})
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
