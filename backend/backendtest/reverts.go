// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Revert asks the driver, which testReverts has looked at.
func (n *node) Revert(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	return n.driver.(backend.Reverter).Revert(ctx, id, snapshot) //nolint:forcetypeassert // see above
}

func testReverts(t *testing.T, h Harness) {
	if _, can := h.Driver().(backend.Reverter); !can {
		t.Skipf("%T cannot put a snapshot in a head's place", h.Driver())
	}
	t.Run("TheHeadIsWhatItWas", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 3, Size: 32 << 20}))
		n.mount(id)
		n.write(id, "first", "1")
		old := n.snapshot(id, 3, 1)
		n.write(id, "first", "2")
		n.write(id, "second", "2")
		kept := n.snapshot(id, 3, 2)
		n.refused("Revert of a mounted one", n.Revert(t.Context(), id, old.Name), backend.ErrBusy)
		n.must(n.Unmount(t.Context(), id))
		for range 2 { // the second does what the first did
			n.must(n.Revert(t.Context(), id, old.Name))
			n.must(n.Released(t.Context(), id, old.Name))
			n.refused("Released", n.Released(t.Context(), id, kept.Name), backend.ErrChanged)
			if c := n.copy(id); !c.Head || c.Epoch != 3 || c.Size != 32<<20 || len(c.Snapshots) != 2 {
				t.Errorf("List = %+v; want a head of epoch 3 with its size, and both snapshots", c)
			}
			if got := n.content(id); got != `map["first":"1"]` {
				t.Errorf("content = %s; want that of the snapshot", got)
			}
		}
		n.restart()
		n.must(n.Revert(t.Context(), id, kept.Name))
		if got := n.content(id); got != `map["first":"2" "second":"2"]` {
			t.Errorf("content = %s; want what was kept", got)
		}
		n.mount(id)
		n.write(id, "third", "3")
		n.snapshot(id, 3, 3)
	})
	t.Run("WhatIsInUseStays", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		n.write(id, "second", "2")
		release := n.Hold(t, id, HeldByDescriptor)
		n.must(n.Unmount(t.Context(), id))
		n.refused("Revert of one in use", n.Revert(t.Context(), id, s.Name), backend.ErrBusy)
		release()
		if got := n.content(id); got != `map["first":"1" "second":"2"]` {
			t.Errorf("content = %s; want what it was", got)
		}
	})
	t.Run("ToNothing", func(t *testing.T) {
		n := at(t, h)
		id, name := n.mounted(), backend.Lineage{Epoch: 1, Serial: 9}.Name()
		n.must(n.Unmount(t.Context(), id))
		n.refused("Revert", n.Revert(t.Context(), id, name), backend.ErrNotFound)
		n.refused("Revert of no head", n.Revert(t.Context(), n.dataset(), name), backend.ErrNotFound)
		if got := n.content(id); got != `map["first":"1"]` {
			t.Errorf("content = %s; want what it was", got)
		}
	})
}
