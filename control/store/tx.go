// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/flocker-project/flocker/cluster"
)

// maxAttempts bounds how often a transaction is tried against concurrent writers.
const maxAttempts = 20

// sharedAttempts is how often it is tried while this process writes other things too. A transaction that reads much loses every race
// against those that read little.
const sharedAttempts = 15

// Tx reads at one revision and collects writes. They are applied together, and
// only if nothing that was read has changed.
type Tx struct {
	store *Store
	// attempt counts how often this was tried before.
	attempt int
	rev     int64
	reads   map[string]int64 // key -> modification revision read, 0 for absent
	lists   map[string]bool
	puts    map[string]write
}

type write struct {
	value   string
	lease   int64
	deleted bool
}

// Record is a value with its key's last part and its place in the history.
type Record[T any] struct {
	Name    string
	Value   T
	Created cluster.Revision
	Changed cluster.Revision
}

// Revision is the revision at which this transaction reads; 0 before the first read.
func (tx *Tx) Revision() cluster.Revision { return cluster.Revision(tx.rev) }

func (s *Store) begin() *Tx {
	return &Tx{store: s, reads: map[string]int64{}, lists: map[string]bool{}, puts: map[string]write{}}
}

// Read runs fn over one consistent, linearizable view.
func (s *Store) Read(ctx context.Context, fn func(tx *Tx) error) (cluster.Revision, error) {
	tx := s.begin()
	if err := fn(tx); err != nil {
		return 0, err
	}
	return cluster.Revision(tx.rev), nil
}

// Update runs fn and applies its writes if nothing that it read has changed in
// between; otherwise fn runs again. It returns the revision of the writes, 0
// when there were none. An error that is cluster.ErrUnavailable leaves the outcome unknown.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) (cluster.Revision, error) {
	for attempt := range maxAttempts {
		rev, done, err := s.try(ctx, attempt, fn)
		if err != nil || done {
			return rev, err
		}
		if err := pause(ctx, attempt); err != nil {
			return 0, unavailable("apply a transaction", err)
		}
	}
	return 0, fmt.Errorf("apply a transaction: others changed the same records %d times: %w", maxAttempts, cluster.ErrUnavailable)
}

// try runs fn once. One that has lost against others often enough has this process to itself.
func (s *Store) try(ctx context.Context, attempt int, fn func(tx *Tx) error) (rev cluster.Revision, done bool, err error) {
	if attempt < sharedAttempts {
		s.turn.RLock()
		defer s.turn.RUnlock()
	} else {
		s.turn.Lock()
		defer s.turn.Unlock()
	}
	tx := s.begin()
	tx.attempt = attempt
	if err := fn(tx); err != nil || len(tx.puts) == 0 {
		return 0, true, err
	}
	return tx.commit(ctx)
}

func pause(ctx context.Context, attempt int) error {
	t := time.NewTimer(rand.N(time.Duration(1+attempt) * time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (tx *Tx) commit(ctx context.Context) (cluster.Revision, bool, error) {
	cmps, ops := tx.compares(), tx.ops()
	if n := max(len(cmps), len(ops)); n > tx.store.maxOps {
		return 0, false, fmt.Errorf("a change of %d records is more than one transaction holds (%d): %w", n, tx.store.maxOps, cluster.ErrInvalid)
	}
	resp, err := tx.store.client.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err != nil {
		return 0, false, unavailable("apply a transaction", err)
	}
	return cluster.Revision(resp.Header.Revision), resp.Succeeded, nil
}

func (tx *Tx) compares() []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for key, mod := range tx.reads {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(key), "=", mod))
	}
	for prefix := range tx.lists {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(prefix).WithPrefix(), "<", tx.rev+1))
	}
	if len(tx.lists) > 0 {
		// A comparison of a range cannot see a deletion; every deletion changes this key.
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(tx.store.prefix+string(generation)), "<", tx.rev+1))
	}
	return cmps
}

func (tx *Tx) ops() []clientv3.Op {
	keys := make([]string, 0, len(tx.puts))
	deletes := false
	for key, w := range tx.puts {
		keys = append(keys, key)
		deletes = deletes || w.deleted
	}
	sort.Strings(keys)
	var ops []clientv3.Op
	for _, key := range keys {
		switch w := tx.puts[key]; {
		case w.deleted:
			ops = append(ops, clientv3.OpDelete(key))
		case w.lease != 0:
			ops = append(ops, clientv3.OpPut(key, w.value, clientv3.WithLease(clientv3.LeaseID(w.lease))))
		default:
			ops = append(ops, clientv3.OpPut(key, w.value))
		}
	}
	if deletes {
		ops = append(ops, clientv3.OpPut(tx.store.prefix+string(generation), `{"v":1,"data":0}`))
	}
	return ops
}

// read asks at the transaction's revision; the first read is linearizable and sets it.
func (tx *Tx) read(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if tx.rev != 0 {
		opts = append(opts, clientv3.WithRev(tx.rev))
	}
	resp, err := tx.store.client.Get(ctx, key, opts...)
	if err != nil {
		return nil, unavailable("read "+key, err)
	}
	if tx.rev == 0 {
		tx.rev = resp.Header.Revision
	}
	return resp, nil
}

// Get reads one record; cluster.ErrNotFound when it is not there.
func Get[T any](ctx context.Context, tx *Tx, k Key[T]) (T, error) {
	r, err := GetRecord(ctx, tx, k)
	return r.Value, err
}

// GetRecord reads one record with its revisions; cluster.ErrNotFound when it is not there.
func GetRecord[T any](ctx context.Context, tx *Tx, k Key[T]) (Record[T], error) {
	key := tx.store.prefix + string(k)
	resp, err := tx.read(ctx, key)
	if err != nil {
		return Record[T]{}, err
	}
	if len(resp.Kvs) == 0 {
		tx.reads[key] = 0
		return Record[T]{}, fmt.Errorf("%s: %w", string(k), cluster.ErrNotFound)
	}
	kv := resp.Kvs[0]
	tx.reads[key] = kv.ModRevision
	v, err := decode[T](string(k), kv.Value, kv.ModRevision)
	return Record[T]{Name: string(k), Value: v, Created: cluster.Revision(kv.CreateRevision), Changed: cluster.Revision(kv.ModRevision)}, err
}

// List reads a collection, sorted by name.
func List[T any](ctx context.Context, tx *Tx, k Key[T]) ([]Record[T], error) {
	prefix := tx.store.prefix + string(k)
	resp, err := tx.read(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	tx.lists[prefix] = true
	records := make([]Record[T], 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		name := string(kv.Key)[len(prefix):]
		v, err := decode[T](string(k)+name, kv.Value, kv.ModRevision)
		if err != nil {
			return nil, err
		}
		records = append(records, Record[T]{Name: name, Value: v, Created: cluster.Revision(kv.CreateRevision), Changed: cluster.Revision(kv.ModRevision)})
	}
	return records, nil
}

// Put writes a record.
func Put[T any](tx *Tx, k Key[T], v T) error { return PutLeased(tx, k, v, 0) }

// PutLeased writes a record that goes when its lease ends.
func PutLeased[T any](tx *Tx, k Key[T], v T, lease int64) error {
	value, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", string(k), err)
	}
	tx.puts[tx.store.prefix+string(k)] = write{value: value, lease: lease}
	return nil
}

// Delete removes a record.
func Delete[T any](tx *Tx, k Key[T]) { tx.puts[tx.store.prefix+string(k)] = write{deleted: true} }
