// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"slices"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

func testSnapshots(t *testing.T, h Harness) {
	t.Run("ASnapshotHasItsLineageAndStays", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		first := n.snapshot(id, 1, 7)
		if first.Epoch != 1 || first.Serial != 7 || first.ID == "" || first.Name != (backend.Lineage{Epoch: 1, Serial: 7}).Name() {
			t.Errorf("Snapshot = %+v; want that of lineage 1, 7", first)
		}
		n.write(id, "second", "2")
		if again := n.snapshot(id, 1, 7); again.ID != first.ID {
			t.Errorf("Snapshot again = %+v; want %+v", again, first)
		}
		n.restart()
		if c := n.copy(id); len(c.Snapshots) != 1 || c.Snapshots[0].ID != first.ID {
			t.Errorf("snapshots = %+v; want %+v", c.Snapshots, first)
		}
	})
	t.Run("OldestFirst", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		var want []string
		for _, l := range []backend.Lineage{{Epoch: 10, Serial: 1}, {Epoch: 2, Serial: 10}, {Epoch: 2, Serial: 9}} {
			want = append([]string{n.snapshot(id, l.Epoch, l.Serial).Name}, want...)
		}
		if got := n.names(id); !slices.Equal(got, want) {
			t.Errorf("snapshots = %v; want %v", got, want)
		}
	})
	t.Run("ASnapshotHoldsWhatWasWrittenBeforeIt", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		n.write(id, "first", "2")
		n.write(id, "second", "2")
		n.must(n.Unmount(t.Context(), id))
		n.must(n.DropHead(t.Context(), id))
		n.must(n.Clone(t.Context(), id, s.Name, backend.Spec{Dataset: id, Epoch: 1}, ""))
		if got := n.content(id); got != `map["first":"1"]` {
			t.Errorf("content = %s; want that of the snapshot", got)
		}
	})
	t.Run("DeleteTwice", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s, kept := n.snapshot(id, 1, 1), n.snapshot(id, 1, 2)
		for range 2 {
			n.must(n.DeleteSnapshot(t.Context(), id, s.Name))
			if got := n.names(id); !slices.Equal(got, []string{kept.Name}) {
				t.Errorf("snapshots = %v; want %s", got, kept.Name)
			}
		}
		n.must(n.DeleteSnapshot(t.Context(), n.dataset(), s.Name))
	})
	t.Run("DropHeadKeepsTheSnapshots", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		n.refused("DropHead of a mounted one", n.DropHead(t.Context(), id), backend.ErrBusy)
		n.must(n.Unmount(t.Context(), id))
		for range 2 {
			n.must(n.DropHead(t.Context(), id))
			if c := n.copy(id); c.Head || c.Epoch != 0 || len(c.Snapshots) != 1 || c.Snapshots[0].ID != s.ID {
				t.Errorf("List = %+v; want the snapshot alone", c)
			}
		}
		n.must(n.DropHead(t.Context(), n.dataset()))
	})
	t.Run("WithoutAHeadThereIsNothingToSnapshot", func(t *testing.T) {
		n := at(t, h)
		_, err := n.Snapshot(t.Context(), n.dataset(), backend.Lineage{Epoch: 1, Serial: 1})
		n.refused("Snapshot", err, backend.ErrNotFound)
	})
}

func testClones(t *testing.T, h Harness) {
	t.Run("ACloneOfItsOwnDataset", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		n.must(n.Unmount(t.Context(), id))
		n.must(n.DropHead(t.Context(), id))
		spec := backend.Spec{Dataset: id, Epoch: 2, Size: 32 << 20}
		n.must(n.Clone(t.Context(), id, s.Name, spec, "a move"))
		c := n.copy(id)
		if !c.Head || c.Epoch != 2 || c.Scratch != "a move" || c.Size != 32<<20 || c.Divergent {
			t.Errorf("List = %+v; want an untouched head at epoch 2, scratch for a move", c)
		}
		n.refused("Clone again", n.Clone(t.Context(), id, s.Name, spec, ""), backend.ErrExists)
		n.must(n.Released(t.Context(), id, s.Name))
		n.mount(id)
		n.write(id, "second", "2")
		n.must(n.Unmount(t.Context(), id))
		n.refused("Released", n.Released(t.Context(), id, s.Name), backend.ErrChanged)
	})
	t.Run("ACloneIsIndependent", func(t *testing.T) {
		n := at(t, h)
		from, to := n.mounted(), n.dataset()
		s := n.snapshot(from, 1, 1)
		n.must(n.Clone(t.Context(), from, s.Name, backend.Spec{Dataset: to, Epoch: 1}, ""))
		n.mount(to)
		n.write(to, "first", "other")
		n.write(from, "second", "2")
		if got := n.content(to); got != `map["first":"other"]` {
			t.Errorf("clone = %s; want the other file", got)
		}
		n.must(n.Unmount(t.Context(), from))
		n.must(n.Destroy(t.Context(), from))
		if got := n.content(to); got != `map["first":"other"]` {
			t.Errorf("clone after its origin's end = %s; want the other file", got)
		}
	})
	t.Run("OfNothing", func(t *testing.T) {
		n := at(t, h)
		id, name := n.dataset(), backend.Lineage{Epoch: 1, Serial: 1}.Name()
		n.refused("Clone", n.Clone(t.Context(), id, name, backend.Spec{Dataset: id, Epoch: 1}, ""), backend.ErrNotFound)
		if c := n.copy(id); c != nil {
			t.Errorf("List = %+v; want nothing", c)
		}
	})
	t.Run("WithoutALimitAgain", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Size: 16 << 20}))
		s := n.snapshot(id, 1, 1)
		other := n.dataset()
		n.must(n.Clone(t.Context(), id, s.Name, backend.Spec{Dataset: other, Epoch: 1}, cluster.MoveID("")))
		n.mount(other)
		n.write(other, "large", string(make([]byte, 24<<20)))
	})
}
