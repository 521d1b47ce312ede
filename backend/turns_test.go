// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/converge"
)

// hanging is a driver whose looks wait for the gate while there is one.
type hanging struct {
	*fault.Driver
	gate  atomic.Pointer[chan struct{}]
	looks atomic.Int32 // begun
	now   atomic.Int32 // under way
	most  atomic.Int32 // at a time
}

func newHanging(inner backend.Driver) *hanging {
	h := &hanging{}
	h.Driver = &fault.Driver{Inner: inner, Before: func(op string, _ cluster.DatasetID) error {
		if op != "list" {
			return nil
		}
		h.looks.Add(1)
		h.most.Store(max(h.most.Load(), h.now.Add(1)))
		defer h.now.Add(-1)
		if gate := h.gate.Load(); gate != nil {
			<-*gate
		}
		return nil
	}}
	return h
}

// A look that hangs is given up after a while, none is begun beside it, nobody waits for it again, and when it comes back the next one looks.
func TestALookThatHangsIsTheOnlyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := mem.New(1<<30), newHanging(mem.New(1<<30))
		pools, err := backend.NewPools(pool(near, "near"), pool(far, "far"))
		if err != nil {
			t.Fatal(err)
		}
		if err := pools.Of("far").Create(t.Context(), backend.Spec{Dataset: lone, Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		if held, err := pools.Observe(t.Context()); err != nil || !held.Copies[lone].Head {
			t.Fatalf("Observe = %+v, %v", held, err)
		}
		gate := make(chan struct{})
		far.gate.Store(&gate)
		began := time.Now()
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				held, err := pools.Observe(t.Context())
				if _, told := held.Copies[lone]; err != nil || told || !strings.Contains(held.Further["far"].Error, backend.ErrLate.Error()) || held.First.Error != "" {
					t.Errorf("Observe of a back end that hangs = %+v, %v", held, err)
				}
				if far := held.Further["far"]; far.Total != 1<<30 || !far.Capabilities.Replicates {
					t.Errorf("of a back end that hangs is told %+v; want what was known of it", far)
				}
			})
		}
		callers.Wait()
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("they waited for %v; want 10s", waited)
		}
		again := time.Now()
		if _, err := pools.ObserveThose(t.Context(), []string{"far"}); !errors.Is(err, backend.ErrLate) || time.Since(again) > 0 {
			t.Errorf("the next one got %v after %v; want %v at once", err, time.Since(again), backend.ErrLate)
		}
		if _, err := pools.ObserveThose(t.Context(), []string{"near"}); err != nil || time.Since(again) > 0 {
			t.Errorf("who wants only the other one got %v after %v", err, time.Since(again))
		}
		if far.looks.Load() != 2 || far.most.Load() != 1 {
			t.Errorf("%d looks were begun, %d at a time; want the one that hangs alone, after the first", far.looks.Load(), far.most.Load())
		}
		far.gate.Store(nil)
		close(gate)
		synctest.Wait()
		if held, err := pools.Observe(t.Context()); err != nil || !held.Copies[lone].Head || held.Further["far"].Error != "" {
			t.Errorf("Observe once it has come back = %+v, %v", held, err)
		}
	})
}

// What comes back late is not what is told: others may have changed since what it saw.
func TestWhatALateLookSawIsThrownAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := mem.New(1 << 30)
		gate := make(chan struct{})
		slow := pool(&fault.Driver{Inner: inner, After: func(op string, _ cluster.DatasetID) error {
			if op == "list" {
				<-gate
			}
			return nil
		}}, "slow")
		if _, _, err := slow.Observe(t.Context()); !errors.Is(err, backend.ErrLate) {
			t.Fatalf("Observe = %v; want %v", err, backend.ErrLate)
		}
		if err := slow.Create(t.Context(), backend.Spec{Dataset: lone, Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		close(gate)
		synctest.Wait()
		if _, copies, err := slow.Observe(t.Context()); err != nil || !copies[lone].Head {
			t.Errorf("Observe = %v, %v; want what was made meanwhile", copies, err)
		}
	})
}

// A back end that does not open is tried again when it is due and not before, and can then do what it can.
func TestABackEndIsOpenedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		problem, tries := errors.New("no such pool"), 0
		later := backend.OpenLater("far", func(context.Context) (backend.Driver, error) {
			if tries++; problem != nil {
				return nil, problem
			}
			return mem.New(1 << 30), nil
		}, &converge.Backoff{Min: time.Second})
		p := pool(later, "far")
		for range 3 {
			storage, _, err := p.Observe(t.Context())
			if !errors.Is(err, problem) || storage.Capabilities != (cluster.Capabilities{}) || !strings.Contains(storage.Error, "no such pool") {
				t.Errorf("Observe = %+v, %v; want %v", storage, err, problem)
			}
		}
		if _, err := p.Mount(t.Context(), lone); err == nil {
			t.Error("Mount in a back end that is not open succeeded")
		}
		if err := p.Create(t.Context(), backend.Spec{Dataset: lone, Epoch: 1}); !errors.Is(err, problem) {
			t.Errorf("Create = %v; want %v", err, problem)
		}
		if tries != 1 {
			t.Errorf("%d tries at once; want 1", tries)
		}
		problem = nil
		<-time.After(2 * time.Second)
		if storage, _, err := p.Observe(t.Context()); err != nil || !storage.Capabilities.Replicates || tries != 2 {
			t.Errorf("Observe = %+v, %v after %d tries", storage, err, tries)
		}
		if err := p.Create(t.Context(), backend.Spec{Dataset: lone, Epoch: 1}); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, _, err := p.Observe(t.Context()); err == nil {
			t.Error("a back end that was closed was opened again")
		}
	})
}

// closing notes that it was closed.
type closing struct {
	*mem.Driver
	closed atomic.Bool
}

func (c *closing) Close() error {
	c.closed.Store(true)
	return nil
}

// What is opened while everything ends is closed too.
func TestWhatOpensTooLateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, gate := &closing{Driver: mem.New(1 << 30)}, make(chan struct{})
		later := backend.OpenLater("far", func(context.Context) (backend.Driver, error) {
			<-gate
			return inner, nil
		}, &converge.Backoff{})
		if err := later.Open(t.Context()); !errors.Is(err, backend.ErrLate) {
			t.Errorf("Open = %v; want %v", err, backend.ErrLate)
		}
		if err := later.Close(); err != nil || inner.closed.Load() {
			t.Errorf("Close = %v, closed %t", err, inner.closed.Load())
		}
		close(gate)
		synctest.Wait()
		if !inner.closed.Load() {
			t.Error("what was opened after the end stays open")
		}
	})
}
