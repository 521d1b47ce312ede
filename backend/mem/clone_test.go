// SPDX-License-Identifier: Apache-2.0

package mem_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/mount"
)

// cloning is a dataset on a real device with a snapshot, of which a clone is made.
type cloning struct {
	*block.Driver
	t          *testing.T
	store      *mem.Machine
	filesystem string
	from, to   backend.Spec
	snapshot   string
	point      string
}

func newCloning(t *testing.T, filesystem string, size int64) *cloning {
	t.Helper()
	runtest.Need(t, "mkfs."+filesystem)
	store := mem.NewStore(newStore(t, true).dir).Machine("ours", "machine-0")
	d, err := block.New(t.Context(), store, block.Config{Filesystem: filesystem})
	spec := func(epoch cluster.Epoch) backend.Spec {
		return backend.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: size, Epoch: epoch}
	}
	c := &cloning{Driver: d, t: t, store: store, filesystem: filesystem, from: spec(7), to: spec(1), point: filepath.Join(t.TempDir(), "point")}
	c.must(err)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		for _, id := range []cluster.DatasetID{c.to.Dataset, c.from.Dataset} {
			if err := errors.Join(d.Unmount(ctx, id), d.Destroy(ctx, id)); err != nil {
				t.Error(err)
			}
		}
		if err := errors.Join(d.Close(), mount.RemovePoint(c.point)); err != nil {
			t.Error(err)
		}
	})
	c.must(d.Create(t.Context(), c.from))
	c.must(d.Mount(t.Context(), c.from.Dataset, c.point))
	c.must(os.WriteFile(filepath.Join(c.point, backend.DataDir, "file"), []byte("content"), 0o600))
	s, err := d.Snapshot(t.Context(), c.from.Dataset, backend.Lineage{Epoch: 7, Serial: 1})
	c.must(err)
	c.snapshot = s.Name
	c.must(d.Unmount(t.Context(), c.from.Dataset))
	return c
}

func (c *cloning) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// begun leaves what a process leaves that died after the store's clone was there, and after what it did to its device.
func (c *cloning) begun(spoil func(f *os.File) error) {
	c.t.Helper()
	all, err := c.store.List(c.t.Context())
	c.must(err)
	v, err := c.store.CloneVolume(c.t.Context(), all[0], c.snapshot, c.to)
	c.must(err)
	device, err := c.store.Attach(c.t.Context(), v)
	c.must(err)
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	c.must(err)
	c.must(errors.Join(spoil(f), f.Sync(), f.Close()))
}

// marked puts the mark behind the filesystem that is there while a clone is made a dataset's own.
func (c *cloning) marked(f *os.File) error {
	said := fmt.Sprintf("FLOCKER-CLONING %s %s %d 0 0 usual", c.to.Dataset, c.filesystem, c.to.Epoch)
	_, err := f.WriteAt(fmt.Appendf(nil, "%s %x\n", said, sha256.Sum256([]byte(said))), c.to.Size-1<<20)
	return err
}

// A clone whose making broke off anywhere is nobody's head, and is made all the same.
func TestCloneThatBrokeOffAnywhereIsMadeAnew(t *testing.T) {
	if testing.Short() {
		t.Skip("makes loop devices")
	}
	for filesystem, size := range map[string]int64{"ext4": 64 << 20, "xfs": 320 << 20, "btrfs": 288 << 20} {
		for name, spoil := range map[string]func(c *cloning, f *os.File) error{
			"before anything": func(*cloning, *os.File) error { return nil },
			"after the mark":  (*cloning).marked,
			"while it was changed": func(c *cloning, f *os.File) error {
				_, err := f.WriteAt(make([]byte, 128<<10), 0)
				return errors.Join(c.marked(f), err)
			},
			"with its own UUID": func(c *cloning, f *os.File) error {
				return errors.Join(c.marked(f), f.Sync(), mount.SetIdentity(t.Context(), f.Name(), filesystem, string(c.to.Dataset)))
			},
		} {
			t.Run(filesystem+" "+name, func(t *testing.T) {
				c := newCloning(t, filesystem, size)
				c.begun(func(f *os.File) error { return spoil(c, f) })
				c.isNobodys()
				c.must(c.Clone(t.Context(), c.from.Dataset, c.snapshot, c.to, ""))
				c.must(c.Mount(t.Context(), c.to.Dataset, c.point)) // which reads whose it is
				if got, err := os.ReadFile(filepath.Join(c.point, backend.DataDir, "file")); err != nil || string(got) != "content" {
					t.Errorf("the clone has %q, %v", got, err)
				}
			})
		}
	}
}

func (c *cloning) isNobodys() {
	c.t.Helper()
	c.Refresh()
	id := c.to.Dataset
	if err := c.Attach(c.t.Context(), id); err != nil && !errors.Is(err, backend.ErrExists) { // it is its origin's still
		c.t.Errorf("Attach = %v", err)
	}
	list, err := c.List(c.t.Context())
	c.must(err)
	for _, one := range list {
		if one.Dataset == id && one.Head {
			c.t.Errorf("List = %+v; want no head of a clone that is not finished", one)
		}
	}
	if err := c.Mount(c.t.Context(), id, c.point); err == nil {
		c.t.Error("a clone that is not finished was mounted")
	}
	if err := c.Create(c.t.Context(), c.to); !errors.Is(err, backend.ErrExists) {
		c.t.Errorf("Create = %v; want %v: it is not formatted", err, backend.ErrExists)
	}
}

// What a clone that failed in between left is not gone on with: its store makes another.
func TestCloneThatFailedHalfwayIsMadeAnew(t *testing.T) {
	if testing.Short() {
		t.Skip("makes loop devices")
	}
	c := newCloning(t, "ext4", 64<<20)
	volume := func() (id string) {
		all, err := c.store.List(t.Context())
		c.must(err)
		for _, v := range all {
			if v.Dataset == c.to.Dataset {
				id = v.ID
			}
		}
		return id
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir()) // without the program that changes UUIDs
	if err := c.Clone(t.Context(), c.from.Dataset, c.snapshot, c.to, ""); err == nil {
		t.Fatal("a clone was made without the program that changes UUIDs")
	}
	first := volume()
	c.isNobodys()
	t.Setenv("PATH", path)
	c.must(c.Clone(t.Context(), c.from.Dataset, c.snapshot, c.to, ""))
	c.must(c.Mount(t.Context(), c.to.Dataset, c.point))
	if second := volume(); first == "" || second == first {
		t.Errorf("the clone is volume %s, after it was %q; want another", second, first)
	}
}
