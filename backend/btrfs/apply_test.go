// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// fresh is a dataset that is mounted on a, and destroyed on all pools after the test.
func fresh(t *testing.T, a *harness, others ...*harness) cluster.DatasetID {
	t.Helper()
	id := cluster.DatasetID(uuid.NewString())
	err := errors.Join(
		a.driver.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}),
		a.driver.Mount(t.Context(), id, a.Path(id)))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		for _, h := range append(others, a) {
			if err := errors.Join(h.driver.Unmount(ctx, id), h.driver.Destroy(ctx, id)); err != nil {
				t.Error(err)
			}
		}
	})
	return id
}

func (h *harness) snapshot(t *testing.T, id cluster.DatasetID, serial uint64) cluster.Snapshot {
	t.Helper()
	s, err := h.driver.Snapshot(t.Context(), id, backend.Lineage{Epoch: 1, Serial: serial})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harness) stream(t *testing.T, id cluster.DatasetID, s cluster.Snapshot, base string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := h.driver.Send(t.Context(), id, s.Name, base, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// takes receives a stream and answers where the snapshot is.
func (h *harness) takes(t *testing.T, id cluster.DatasetID, s cluster.Snapshot, base string, stream []byte) string {
	t.Helper()
	got, err := h.driver.Receive(t.Context(), backend.Arrival{Dataset: id, Base: base}, backendtest.Saying(s), bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != s.ID {
		t.Errorf("received as %s; want %s", got.ID, s.ID)
	}
	return h.inPool("datasets", string(id), s.Name)
}

// byTool lets the tool receive a stream in a folder of the pool. Now and then the kernel sends a difference that nothing
// can apply: it names a folder by the temporary name that it gets only later. Then there is nothing to compare.
func (h *harness) byTool(t *testing.T, s cluster.Snapshot, dir string, stream []byte) string {
	t.Helper()
	dir = filepath.Join(h.config.Mount, dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	receive := run.Command(t.Context(), "btrfs", "--quiet", "receive", dir)
	receive.Stdin = bytes.NewReader(stream)
	if err := receive.Run(); err != nil {
		t.Skipf("the kernel's stream is wrong: %v", err)
	}
	return filepath.Join(dir, s.Name)
}

// equal compares two trees but for the time of the dataset's own root, which nobody sees: the kernel lets new objects be
// made there under names of its own.
func equal(t *testing.T, what string, want, got map[string]object) {
	t.Helper()
	root := got[""]
	root.Modified = want[""].Modified
	got[""] = root
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: -source +copy\n%s", what, diff)
	}
}

// withoutSetID leaves out what the tool loses: a change of owner takes these bits from a file, and the kernel's stream
// does not give them back where the base had them too.
func withoutSetID(of map[string]object) map[string]object {
	without := map[string]object{}
	for name, o := range of {
		if o.Mode&unix.S_IFMT != unix.S_IFDIR {
			o.Mode &^= unix.S_ISUID | unix.S_ISGID
		}
		without[name] = o
	}
	return without
}

// TestAppliesAsBtrfsReceiveDoes compares what the driver makes of the kernel's streams with what they were made of, and
// with what the tool makes of them.
func TestAppliesAsBtrfsReceiveDoes(t *testing.T) {
	a, b, c, tool := newPool(t, 256<<20), newPool(t, 256<<20), newPool(t, 256<<20), newPool(t, 256<<20)
	seeds, rounds := uint64(5), uint64(5)
	if testing.Short() {
		seeds, rounds = 1, 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			id := fresh(t, a, b, c)
			random := newContent(seed, a.data(id))
			base, made := "", []string{}
			for serial := uint64(1); serial <= rounds; serial++ {
				random.change(t, 120)
				s := a.snapshot(t, id, serial)
				want := tree(t, a.inPool("datasets", string(id), s.Name))
				full, difference := a.stream(t, id, s, ""), a.stream(t, id, s, base)
				what := fmt.Sprintf("round %d with %d objects", serial, len(want))
				equal(t, what+", full", want, tree(t, c.takes(t, id, s, "", full)))
				if err := c.driver.DeleteSnapshot(t.Context(), id, s.Name); err != nil {
					t.Fatal(err)
				}
				made = append(made, tool.byTool(t, s, string(id), difference))
				equal(t, what+", difference", want, tree(t, b.takes(t, id, s, base, difference)))
				relay := b.stream(t, id, s, base)
				subvolume(t, "delete", tool.byTool(t, s, "relay", relay))
				equal(t, what+", sent on", want, tree(t, c.takes(t, id, s, base, relay)))
				equal(t, what+", by the tool", withoutSetID(want), withoutSetID(tree(t, made[len(made)-1])))
				base = s.Name
			}
			for _, path := range made {
				subvolume(t, "delete", path)
			}
		})
	}
}
