// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"sync"

	"github.com/flocker-project/flocker/cluster"
)

// objects keeps at most one step running for each object, and holds objects still
// while a cut-over works on them.
type objects struct {
	mu      sync.Mutex
	busy    map[string]bool
	changes map[string]int          // grows whenever an object may have changed
	claims  map[cluster.MoveID]bool // true once the function stops, mounts or starts things
	freed   chan struct{}           // closed whenever something is freed
	running sync.WaitGroup
}

func newObjects() *objects {
	return &objects{
		busy: map[string]bool{}, changes: map[string]int{},
		claims: map[cluster.MoveID]bool{}, freed: make(chan struct{}),
	}
}

// mark returns the state of change, to be given to begin: what was planned on a look
// that is older than an object's last change is not done.
func (o *objects) mark() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.changes)
}

// begin takes an object for a step, if it is free and has not changed since mark.
func (o *objects) begin(object string, mark map[string]int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy[object] || o.changes[object] != mark[object] {
		return false
	}
	o.take(object)
	return true
}

func (o *objects) take(object string) {
	o.busy[object] = true
	o.changes[object]++
	o.running.Add(1)
}

func (o *objects) end(object string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.busy, object)
	o.changes[object]++
	o.running.Done()
	o.signal()
}

// hold waits until none of the objects has a step running, and keeps them from
// getting one until release is called.
func (o *objects) hold(ctx context.Context, names []string) (release func(), err error) {
	for {
		o.mu.Lock()
		free := true
		for _, n := range names {
			free = free && !o.busy[n]
		}
		if free {
			for _, n := range names {
				o.take(n)
			}
			o.mu.Unlock()
			return func() {
				for _, n := range names {
					o.end(n)
				}
			}, nil
		}
		freed := o.freed
		o.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-freed:
		}
	}
}

// claim marks a move's function as running in this process; false when it runs already.
func (o *objects) claim(id cluster.MoveID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, taken := o.claims[id]; taken {
		return false
	}
	o.claims[id] = false
	return true
}

// engage says of a claim that its function now works on the move's objects.
func (o *objects) engage(id cluster.MoveID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.claims[id] = true
}

func (o *objects) unclaim(id cluster.MoveID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.claims, id)
	o.signal()
}

// unclaimed waits until no function of the move runs in this process.
func (o *objects) unclaimed(ctx context.Context, id cluster.MoveID) error {
	for {
		o.mu.Lock()
		_, taken := o.claims[id]
		freed := o.freed
		o.mu.Unlock()
		if !taken {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-freed:
		}
	}
}

// unchanged says whether none of the objects has changed since mark, or is changing.
func (o *objects) unchanged(names []string, mark map[string]int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range names {
		if o.busy[n] || o.changes[n] != mark[n] {
			return false
		}
	}
	return true
}

func (o *objects) signal() {
	close(o.freed)
	o.freed = make(chan struct{})
}

func (o *objects) claimed() map[cluster.MoveID]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.claims)
}

// wait returns when no step runs any more.
func (o *objects) wait() { o.running.Wait() }
