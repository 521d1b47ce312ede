// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"testing"

	"github.com/flocker-project/flocker/backend"
)

func testEpochs(t *testing.T, h Harness) {
	t.Run("EpochAndScratchMarkAreKept", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		for range 2 {
			n.must(n.SetEpoch(t.Context(), id, 4, "a move"))
		}
		n.restart()
		if c := n.copy(id); c.Epoch != 4 || c.Scratch != "a move" {
			t.Errorf("List = %+v; want epoch 4, scratch for a move", c)
		}
		n.must(n.SetEpoch(t.Context(), id, 4, ""))
		if c := n.copy(id); c.Scratch != "" {
			t.Errorf("scratch = %q; want none", c.Scratch)
		}
	})
	t.Run("EpochsNeverGoBack", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.must(n.SetEpoch(t.Context(), id, 4, ""))
		n.refused("SetEpoch", n.SetEpoch(t.Context(), id, 3, "a move"), backend.ErrChanged)
		if c := n.copy(id); c.Epoch != 4 || c.Scratch != "" {
			t.Errorf("List = %+v; want epoch 4 as before", c)
		}
		n.must(n.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}))
		if c := n.copy(id); c.Epoch != 4 {
			t.Errorf("epoch after Create again = %d; want 4", c.Epoch)
		}
	})
	t.Run("AnOlderEpochMakesNoHeadOfANewerSnapshot", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.must(n.SetEpoch(t.Context(), id, 5, ""))
		s := n.snapshot(id, 5, 1)
		n.must(n.Unmount(t.Context(), id))
		n.must(n.DropHead(t.Context(), id))
		err := n.Clone(t.Context(), id, s.Name, backend.Spec{Dataset: id, Epoch: 4}, "")
		n.refused("Clone", err, backend.ErrChanged)
	})
	t.Run("WithoutAHeadThereIsNoEpoch", func(t *testing.T) {
		n := at(t, h)
		n.refused("SetEpoch", n.SetEpoch(t.Context(), n.dataset(), 1, ""), backend.ErrNotFound)
	})
	t.Run("AnEpochIsNoChangeOfTheData", func(t *testing.T) {
		n := at(t, h)
		id := n.mounted()
		n.must(n.Unmount(t.Context(), id))
		s := n.snapshot(id, 1, 1)
		n.must(n.SetEpoch(t.Context(), id, 2, ""))
		n.must(n.Released(t.Context(), id, s.Name))
		if n.copy(id).Divergent {
			t.Error("the head is divergent; want it equal to its snapshot")
		}
	})
}
