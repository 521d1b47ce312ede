// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/flocker-project/flocker/cluster"
)

// Change is one record's change.
type Change struct {
	Key      string // without the store's prefix
	Revision cluster.Revision
	value    []byte // nil when deleted
	previous []byte // nil when created, or no longer known
	before   int64
	created  bool
}

// Deleted says whether the record is gone.
func (c Change) Deleted() bool { return c.value == nil }

// Created says whether the record was not there before.
func (c Change) Created() bool { return c.created }

// Value is the record as it is now.
func Value[T any](c Change, _ Key[T]) (T, error) {
	return decode[T](c.Key, c.value, int64(c.Revision))
}

// Previous is the record as it was; false when it was not there or is no longer known.
func Previous[T any](c Change, _ Key[T]) (T, bool) {
	if c.previous == nil {
		var none T
		return none, false
	}
	v, err := decode[T](c.Key, c.previous, c.before)
	return v, err == nil
}

// Batch is all changes up to a revision, in order. One transaction is never split over two batches.
type Batch struct {
	Revision cluster.Revision
	Changes  []Change
}

// Watch calls fn with what changed from revision from on, until fn or the watch fails.
// It returns cluster.ErrGone when from is no longer kept.
func (s *Store) Watch(ctx context.Context, from cluster.Revision, fn func(Batch) error) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	ch := s.client.Watch(ctx, s.prefix, clientv3.WithPrefix(), clientv3.WithRev(int64(from)), clientv3.WithPrevKV())
	for resp := range ch {
		if err := watchError(resp); err != nil {
			return err
		}
		if len(resp.Events) == 0 {
			continue
		}
		b := Batch{Revision: cluster.Revision(resp.Header.Revision), Changes: make([]Change, 0, len(resp.Events))}
		for _, e := range resp.Events {
			b.Changes = append(b.Changes, s.change(e))
		}
		b.Revision = b.Changes[len(b.Changes)-1].Revision
		if err := fn(b); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("watch the store: %w", cluster.ErrUnavailable)
}

func watchError(resp clientv3.WatchResponse) error {
	err := resp.Err()
	switch {
	case err == nil:
		return nil
	case resp.CompactRevision != 0, errors.Is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("watch the store: %w", cluster.ErrGone)
	}
	return unavailable("watch the store", err)
}

func (s *Store) change(e *clientv3.Event) Change {
	c := Change{Key: string(e.Kv.Key)[len(s.prefix):], Revision: cluster.Revision(e.Kv.ModRevision), created: e.IsCreate()}
	if e.Type == mvccpb.Event_PUT {
		c.value = e.Kv.Value
	}
	if e.PrevKv != nil {
		c.previous, c.before = e.PrevKv.Value, e.PrevKv.ModRevision
	}
	return c
}

func isLeaseGone(err error) bool { return errors.Is(err, rpctypes.ErrLeaseNotFound) }

// All reads every record as if it had just been put, at the transaction's revision.
func (s *Store) All(ctx context.Context, tx *Tx) ([]Change, error) {
	resp, err := tx.read(ctx, s.prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	all := make([]Change, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		all = append(all, Change{Key: string(kv.Key)[len(s.prefix):], Revision: cluster.Revision(kv.ModRevision), value: kv.Value})
	}
	return all, nil
}
