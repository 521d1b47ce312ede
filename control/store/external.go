// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// defaultMaxOps is etcd's own default for --max-txn-ops.
const defaultMaxOps = 128

// External is an etcd that the operator runs.
type External struct {
	Endpoints          []string
	TLS                *tls.Config // nil without TLS
	Username, Password string
	// MaxTxnOps is what the servers' --max-txn-ops allows; 0 is etcd's default of 128.
	MaxTxnOps int
}

func openExternal(ctx context.Context, o Options) (*Store, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            o.External.Endpoints,
		TLS:                  o.External.TLS,
		Username:             o.External.Username,
		Password:             o.External.Password,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zapLogger(o.Log),
		RejectOldCluster:     false,
	})
	if err != nil {
		return nil, unavailable(fmt.Sprintf("connect to etcd at %v", o.External.Endpoints), err)
	}
	s := &Store{client: client, prefix: o.Prefix, maxOps: defaultMaxOps}
	if o.External.MaxTxnOps > 0 {
		s.maxOps = o.External.MaxTxnOps
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := s.Revision(ctx); err != nil {
		_ = client.Close() // the read's error is the one to tell
		return nil, fmt.Errorf("connect to etcd at %v: %w", o.External.Endpoints, err)
	}
	return s, nil
}
