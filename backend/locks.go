// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"sync"

	"github.com/flocker-project/flocker/cluster"
)

// locks is a lock for each dataset, kept only while someone has it or waits for it.
type locks struct {
	mu   sync.Mutex
	held map[cluster.DatasetID]*lock
}

type lock struct {
	turn  chan struct{} // holds one value while the lock is free
	users int
}

func (l *locks) acquire(ctx context.Context, id cluster.DatasetID) (release func(), err error) {
	k := l.join(id)
	select {
	case <-k.turn:
		return func() { l.release(id, k) }, nil
	case <-ctx.Done():
		l.leave(id, k)
		return nil, ctx.Err()
	}
}

// try takes the lock if it is free now.
func (l *locks) try(id cluster.DatasetID) (release func(), ok bool) {
	k := l.join(id)
	select {
	case <-k.turn:
		return func() { l.release(id, k) }, true
	default:
		l.leave(id, k)
		return nil, false
	}
}

func (l *locks) join(id cluster.DatasetID) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[cluster.DatasetID]*lock{}
	}
	k := l.held[id]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		k.turn <- struct{}{}
		l.held[id] = k
	}
	k.users++
	return k
}

func (l *locks) release(id cluster.DatasetID, k *lock) {
	k.turn <- struct{}{}
	l.leave(id, k)
}

func (l *locks) leave(id cluster.DatasetID, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, id)
	}
}
