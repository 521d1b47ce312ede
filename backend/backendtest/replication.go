// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// pair is a mounted dataset on one of two nodes, cleaned up on both.
func pair(t *testing.T, ha, hb Harness) (a, b *node, id cluster.DatasetID) {
	t.Helper()
	a, b = at(t, ha), at(t, hb)
	id = a.mounted()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(b.Unmount(ctx, id), b.Destroy(ctx, id)); err != nil {
			t.Error(err)
		}
	})
	return a, b, id
}

func ship(from, to *node, id cluster.DatasetID, s cluster.Snapshot, base string) {
	from.t.Helper()
	to.must(to.receive(id, s, base, bytes.NewReader(from.stream(id, s.Name, base))))
}

func testReplication(t *testing.T, ha, hb Harness) {
	t.Run("ThereAndBack", func(t *testing.T) {
		a, b, id := pair(t, ha, hb)
		one := a.snapshot(id, 1, 1)
		ship(a, b, id, one, "")
		c := b.copy(id)
		if c == nil || c.Head || len(c.Snapshots) != 1 || c.Snapshots[0].ID != one.ID {
			t.Fatalf("List = %+v; want the snapshot alone", c)
		}
		// How much a fail-over loses is told by it.
		if taken := c.Snapshots[0].Created; !taken.Equal(one.Created) || time.Since(taken) > time.Minute {
			t.Errorf("a snapshot of %v was received as one of %v", one.Created, taken)
		}
		a.write(id, "second", strings.Repeat("2", 100_000))
		a.must(a.Unmount(t.Context(), id))
		two := a.snapshot(id, 1, 2)
		ship(a, b, id, two, one.Name)
		b.must(b.Clone(t.Context(), id, two.Name, backend.Spec{Dataset: id, Epoch: 2}, ""))
		if got, want := b.content(id), a.content(id); got != want {
			t.Errorf("received = %.200s; want %.200s", got, want)
		}
		b.mount(id)
		b.write(id, "first", "changed there")
		b.must(b.Unmount(t.Context(), id))
		three := b.snapshot(id, 2, 1)
		a.must(a.DropHead(t.Context(), id))
		ship(b, a, id, three, two.Name)
		a.must(a.Clone(t.Context(), id, three.Name, backend.Spec{Dataset: id, Epoch: 3}, ""))
		if got, want := a.content(id), b.content(id); got != want {
			t.Errorf("back = %.200s; want %.200s", got, want)
		}
		if got, want := a.names(id), []string{one.Name, two.Name, three.Name}; !slices.Equal(got, want) {
			t.Errorf("snapshots = %v; want %v", got, want)
		}
	})
	t.Run("WhatWasEmptiedIsEmpty", func(t *testing.T) {
		a, b, id := pair(t, ha, hb)
		one := a.snapshot(id, 1, 1)
		ship(a, b, id, one, "")
		a.write(id, "first", "")
		a.write(id, "deep", "3")
		two := a.snapshot(id, 1, 2)
		ship(a, b, id, two, one.Name)
		b.must(b.Clone(t.Context(), id, two.Name, backend.Spec{Dataset: id, Epoch: 1}, ""))
		if got, want := b.content(id), a.content(id); got != want {
			t.Errorf("received = %s; want %s", got, want)
		}
	})
	t.Run("AnEmptyDifference", func(t *testing.T) {
		a, b, id := pair(t, ha, hb)
		one, two := a.snapshot(id, 1, 1), a.snapshot(id, 1, 2)
		ship(a, b, id, one, "")
		ship(a, b, id, two, one.Name)
		if got := b.names(id); !slices.Equal(got, []string{one.Name, two.Name}) {
			t.Errorf("snapshots = %v; want both", got)
		}
	})
	t.Run("ReceivedTwice", func(t *testing.T) {
		a, b, id := pair(t, ha, hb)
		one := a.snapshot(id, 1, 1)
		ship(a, b, id, one, "")
		ship(a, b, id, one, "")
		if got := b.names(id); len(got) != 1 {
			t.Errorf("snapshots = %v; want one", got)
		}
	})
}

func testReplicationRefused(t *testing.T, ha, hb Harness) {
	t.Run("BaseMissing", func(t *testing.T) {
		a, b, id := pair(t, ha, hb)
		one, two := a.snapshot(id, 1, 1), a.snapshot(id, 1, 2)
		data := a.stream(id, two.Name, one.Name)
		a.refused("Receive", b.receive(id, two, one.Name, bytes.NewReader(data)), backend.ErrBaseMissing)
		missing := backend.Lineage{Epoch: 1, Serial: 9}.Name()
		a.refused("Send", a.Send(t.Context(), id, two.Name, missing, io.Discard), backend.ErrBaseMissing)
		a.refused("Send", a.Send(t.Context(), id, missing, "", io.Discard), backend.ErrNotFound)
		if c := b.copy(id); c != nil {
			t.Errorf("List = %+v; want nothing", c)
		}
	})
	t.Run("SendEndsWithItsContext", func(t *testing.T) {
		a, _, id := pair(t, ha, hb)
		a.write(id, "large", strings.Repeat("0123456789abcdef", 1<<18))
		s := a.snapshot(id, 1, 1)
		ctx, cancel := context.WithCancel(t.Context())
		err := a.Send(ctx, id, s.Name, "", writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }))
		a.refused("Send", err, context.Canceled)
	})
	t.Run("SendFailsWithItsWriter", func(t *testing.T) {
		a, _, id := pair(t, ha, hb)
		s, broken := a.snapshot(id, 1, 1), errors.New("broken")
		err := a.Send(t.Context(), id, s.Name, "", writerFunc(func([]byte) (int, error) { return 0, broken }))
		a.refused("Send", err, broken)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
