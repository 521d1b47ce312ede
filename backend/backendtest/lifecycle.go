// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

func testLifecycle(t *testing.T, h Harness) {
	t.Run("AnAbsentDatasetIsNotListed", func(t *testing.T) {
		n := at(t, h)
		if c := n.copy(n.dataset()); c != nil {
			t.Errorf("List = %+v; want nothing", c)
		}
	})
	t.Run("CreateMakesAnEmptyHead", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 3, Size: 64 << 20}))
		c := n.copy(id)
		if c == nil || !c.Head || c.Epoch != 3 || c.Size != 64<<20 || c.Mounted != "" || c.Scratch != "" || len(c.Snapshots) != 0 {
			t.Fatalf("List = %+v; want a head at epoch 3 of 64 MiB", c)
		}
		if got := n.content(id); got != text(nil) {
			t.Errorf("content = %s; want nothing", got)
		}
	})
	t.Run("CreateGivesTheFolderAway", func(t *testing.T) {
		n := at(t, h)
		for _, want := range []cluster.Root{{UID: 1234, GID: 5678, Mode: "2750"}, {Mode: "0755"}} {
			id, asked := n.dataset(), want
			if asked.UID == 0 {
				asked = cluster.Root{} // what is asked for when nothing is
			}
			n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Root: asked}))
			n.must(n.Mount(t.Context(), id, n.Path(id)))
			if got, err := n.Root(id); err != nil || got != want {
				t.Errorf("the data folder is %+v, %v; want %+v", got, err, want)
			}
		}
	})
	t.Run("CreateTwiceKeepsTheData", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}))
		if got := n.content(id); got != `map["first":"1"]` {
			t.Errorf("content = %s; want the first file", got)
		}
	})
	t.Run("CreateWithAnotherSizeIsRefused", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.refused("Create", n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Size: 1 << 20}), backend.ErrExists)
	})
	t.Run("CreateBesideSnapshotsIsRefused", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.snapshot(id, 1, 1)
		n.must(n.Unmount(t.Context(), id))
		n.must(n.DropHead(t.Context(), id))
		n.refused("Create", n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}), backend.ErrExists)
	})
}

func testDestroy(t *testing.T, h Harness) {
	t.Run("DestroyRemovesEverythingAndAgain", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.snapshot(id, 1, 1)
		n.must(n.Unmount(t.Context(), id))
		for range 2 {
			n.must(n.Destroy(t.Context(), id))
			if c := n.copy(id); c != nil {
				t.Errorf("List after Destroy = %+v; want nothing", c)
			}
		}
	})
	t.Run("DestroyWhileMountedLosesNothing", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		snapshot := n.snapshot(id, 1, 1)
		n.refused("Destroy", n.Destroy(t.Context(), id), backend.ErrBusy)
		if got := n.content(id); got != `map["first":"1"]` {
			t.Errorf("content = %s; want the first file", got)
		}
		if names := n.names(id); len(names) != 1 || names[0] != snapshot.Name {
			t.Errorf("snapshots = %v; want %s", names, snapshot.Name)
		}
	})
	t.Run("DestroyWhileHeldElsewhereLosesNothing", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		release := n.Hold(t, id, HeldByDescriptor)
		n.must(n.Unmount(t.Context(), id))
		n.refused("Destroy", n.Destroy(t.Context(), id), backend.ErrBusy)
		release()
		if got := n.content(id); got != `map["first":"1"]` {
			t.Errorf("content = %s; want the first file", got)
		}
	})
	t.Run("ForeignThingsStay", func(t *testing.T) {
		n := at(t, h)
		intact := n.Foreign(t)
		id := n.mounted()
		n.must(n.Unmount(t.Context(), id))
		n.restart()
		n.must(n.Destroy(t.Context(), id))
		n.must(intact())
		copies, err := n.List(t.Context())
		n.must(err)
		if len(copies) != 0 {
			t.Errorf("List = %+v; want nothing foreign", copies)
		}
	})
}
