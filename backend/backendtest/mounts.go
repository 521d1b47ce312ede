// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"testing"

	"github.com/flocker-project/flocker/backend"
)

func testMounts(t *testing.T, h Harness) {
	t.Run("MountAndUnmountTwice", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.mount(id)
		if c := n.copy(id); c.Mounted != n.Path(id) {
			t.Errorf("mounted at %q; want %q", c.Mounted, n.Path(id))
		}
		for range 2 {
			n.must(n.Unmount(t.Context(), id))
			if c := n.copy(id); c.Mounted != "" {
				t.Errorf("mounted at %q; want nowhere", c.Mounted)
			}
		}
		if err := n.Write(id, "late", nil); err == nil {
			t.Error("Write on an unmounted head = nil; want an error")
		}
		if got := n.content(id); got != `map["first":"1"]` {
			t.Errorf("content = %s; want the first file", got)
		}
	})
	t.Run("AMountOutlivesTheDriver", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.restart()
		if c := n.copy(id); c.Mounted != n.Path(id) {
			t.Errorf("mounted at %q; want %q", c.Mounted, n.Path(id))
		}
		n.write(id, "second", "2")
	})
	t.Run("WithoutAHeadThereIsNothingToMount", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.refused("Mount", n.Mount(t.Context(), id, n.Path(id)), backend.ErrNotFound)
		n.must(n.Unmount(t.Context(), id))
	})
	t.Run("AnotherDatasetsPathIsRefused", func(t *testing.T) {
		n := at(t, h)
		one, two := n.mounted(), n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: two, Epoch: 1}))
		n.refused("Mount", n.Mount(t.Context(), two, n.Path(one)), backend.ErrBusy)
	})
	t.Run("UnmountWhileInUseIsRefused", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		release := n.Hold(t, id, HeldThroughMount)
		n.refused("Unmount", n.Unmount(t.Context(), id), backend.ErrBusy)
		release()
		n.must(n.Unmount(t.Context(), id))
	})
}

func testReleased(t *testing.T, h Harness) {
	t.Run("NobodyThere", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.must(n.Unmount(t.Context(), id))
		s := n.snapshot(id, 1, 1)
		for range 2 {
			n.must(n.Released(t.Context(), id, s.Name))
			n.must(n.Released(t.Context(), id, ""))
		}
	})
	t.Run("Mounted", func(t *testing.T) {
		n := at(t, h)
		n.refused("Released", n.Released(t.Context(), n.mounted(), ""), backend.ErrBusy)
	})
	for _, how := range []Held{HeldByDescriptor, HeldByMapping, HeldByNamespace} {
		t.Run("Held", func(t *testing.T) {
			n := at(t, h)
			id := n.mounted()
			release := n.Hold(t, id, how)
			n.must(n.Unmount(t.Context(), id))
			s := n.snapshot(id, 1, 1)
			n.refused("Released with "+string(how), n.Released(t.Context(), id, s.Name), backend.ErrBusy)
			release()
			n.must(n.Released(t.Context(), id, s.Name))
		})
	}
	t.Run("ChangedSinceTheSnapshot", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		old := n.snapshot(id, 1, 1)
		n.write(id, "second", "2")
		n.must(n.Unmount(t.Context(), id))
		n.refused("Released", n.Released(t.Context(), id, old.Name), backend.ErrChanged)
		s := n.snapshot(id, 1, 2)
		n.must(n.Released(t.Context(), id, s.Name))
	})
	t.Run("OneByteOverwritten", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		n.write(id, "first", "2")
		n.must(n.Unmount(t.Context(), id))
		n.refused("Released", n.Released(t.Context(), id, s.Name), backend.ErrChanged)
		if !n.copy(id).Divergent {
			t.Error("the head is not divergent; want it to be")
		}
	})
	t.Run("ReadingIsNoChange", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		_, err := n.Files(id)
		n.must(err)
		n.must(n.Unmount(t.Context(), id))
		n.must(n.Released(t.Context(), id, s.Name))
	})
	t.Run("WithoutAHead", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		s := n.snapshot(id, 1, 1)
		n.must(n.Unmount(t.Context(), id))
		n.must(n.DropHead(t.Context(), id))
		n.must(n.Released(t.Context(), id, s.Name))
		n.must(n.Released(t.Context(), id, ""))
	})
	t.Run("UnknownSnapshot", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.must(n.Unmount(t.Context(), id))
		name := backend.Lineage{Epoch: 1, Serial: 9}.Name()
		n.refused("Released", n.Released(t.Context(), id, name), backend.ErrNotFound)
	})
}
