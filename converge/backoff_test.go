// SPDX-License-Identifier: Apache-2.0

package converge_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/converge"
)

func TestDelaysDoubleUpToTheLimitAndAreForgottenAfterCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &converge.Backoff{Min: time.Second, Max: 4 * time.Second, Calm: time.Minute}
		for i, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
			failures, due := b.Failed("application/db")
			d := time.Until(due)
			if failures != i+1 || d > want || d < want*3/4 {
				t.Errorf("failure %d: Failed = %d, in %v; want %d, in %v less up to a quarter", i+1, failures, d, i+1, want)
			}
			if b.Ready("application/db") || !b.Ready("application/web") {
				t.Error("an object that failed must wait, and no other")
			}
			<-time.After(d)
			if !b.Ready("application/db") {
				t.Error("an object must be ready when it is due")
			}
		}
		<-time.After(2 * time.Minute)
		if failures, _ := b.Failed("application/db"); failures != 1 {
			t.Errorf("Failed after a calm time = %d failures; want 1", failures)
		}
		b.Succeeded("application/db")
		if !b.Ready("application/db") {
			t.Error("success must make an object ready")
		}
	})
}

func TestAnObjectThatWentAwayIsToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &converge.Backoff{Min: time.Second}
		_, first := b.Failed("dataset/gone")
		if due, waiting := b.Next(); !waiting || !due.Equal(first) {
			t.Errorf("Next = %v, %t; want %v, true", due, waiting, first)
		}
		<-time.After(2 * time.Second)
		b.Next()
		if due, waiting := b.Next(); waiting {
			t.Errorf("Next told again of an object due at %v", due)
		}
		_, second := b.Failed("dataset/a")
		if due, waiting := b.Next(); !waiting || !due.Equal(second) {
			t.Errorf("Next = %v, %t; want %v, true", due, waiting, second)
		}
	})
}

func TestBackoffServesManyAtOnce(t *testing.T) {
	b := &converge.Backoff{}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 100 {
				b.Failed(fmt.Sprintf("dataset/%d", j))
				b.Next()
				b.Succeeded(fmt.Sprintf("dataset/%d", i))
			}
		})
	}
	all.Wait()
	for i := range 8 {
		b.Succeeded(fmt.Sprintf("dataset/%d", i))
	}
	if !b.Ready("dataset/0") || b.Ready("dataset/99") {
		t.Error("an object's failures must be its own")
	}
}
