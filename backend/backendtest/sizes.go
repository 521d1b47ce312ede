// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/flocker-project/flocker/backend"
)

const mib = 1 << 20

func testSizes(t *testing.T, h Harness) {
	t.Run("ALimitIsKept", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Size: 16 * mib}))
		n.mount(id)
		n.must(n.Write(id, "fits", make([]byte, 8*mib)))
		if err := n.Write(id, "too much", make([]byte, 16*mib)); err == nil {
			t.Error("Write beyond the limit = nil; want no space")
		}
		n.must(n.Resize(t.Context(), id, 48*mib))
		n.must(n.Write(id, "too much", make([]byte, 16*mib)))
		if c := n.copy(id); c.Size != 48*mib {
			t.Errorf("size = %d; want 48 MiB", c.Size)
		}
		n.restart()
		if c := n.copy(id); c.Size != 48*mib {
			t.Errorf("size after a restart = %d; want 48 MiB", c.Size)
		}
	})
	t.Run("AFullDatasetCanGrow", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Size: 8 * mib}))
		n.mount(id)
		for i, full := 0, false; !full; i++ {
			if i > 1000 {
				t.Fatal("1000 files of 64 KiB fit into 8 MiB")
			}
			full = n.Write(id, fmt.Sprint(i), noise(64<<10)) != nil
		}
		n.must(n.Resize(t.Context(), id, 32*mib))
		n.must(n.Write(id, "more", noise(8*mib)))
	})
	t.Run("LessThanIsUsedIsRefused", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Size: 32 * mib}))
		n.mount(id)
		n.must(n.Write(id, "file", noise(8*mib)))
		n.refused("Resize", n.Resize(t.Context(), id, 4*mib), backend.ErrNoSpace)
		if c := n.copy(id); c.Size != 32*mib {
			t.Errorf("size = %d; want 32 MiB as before", c.Size)
		}
		n.must(n.Write(id, "more", noise(16*mib)))
	})
	t.Run("WithoutALimitAndBack", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1, Size: 8 * mib}))
		n.mount(id)
		for range 2 {
			n.must(n.Resize(t.Context(), id, 0))
		}
		n.must(n.Write(id, "file", noise(16*mib)))
		if c := n.copy(id); c.Size != 0 {
			t.Errorf("size = %d; want none", c.Size)
		}
		n.must(n.Resize(t.Context(), id, 64*mib))
		if err := n.Write(id, "too much", noise(64*mib)); err == nil {
			t.Error("Write beyond the limit = nil; want no space")
		}
	})
}

func testSpace(t *testing.T, h Harness) {
	t.Run("UsedIsSeen", func(t *testing.T) {
		n := at(t, h)
		id := n.dataset()
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}))
		n.mount(id)
		n.must(n.Write(id, "file", noise(8*mib)))
		n.snapshot(id, 1, 1)
		if c := n.copy(id); c.Used < 8*mib || c.Used > 10*mib {
			t.Errorf("used = %d; want about 8 MiB", c.Used)
		}
	})
	t.Run("SpaceShrinksWithData", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		before, total, err := n.Space(t.Context())
		n.must(err)
		n.must(n.Write(id, "file", noise(32*mib)))
		n.snapshot(id, 1, 1)
		after, _, err := n.Space(t.Context())
		n.must(err)
		if before > total || before-after < 24*mib {
			t.Errorf("free = %d, then %d of %d; want 32 MiB less", before, after, total)
		}
	})
	t.Run("OfNothing", func(t *testing.T) {
		n := at(t, h)
		n.refused("Resize", n.Resize(t.Context(), n.dataset(), mib), backend.ErrNotFound)
	})
}

// noise is data that no filesystem makes smaller, the same each time.
func noise(n int) []byte {
	data := make([]byte, n)
	for at := 0; at < n; at += 8 {
		binary.NativeEndian.PutUint64(data[at:], uint64(at+1)*0x9e3779b97f4a7c15)
	}
	return data
}
