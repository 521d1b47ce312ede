// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/btrfs"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

const dataset = cluster.DatasetID("0b5c5d3e-0000-4000-8000-000000000001")

func refuse(t *testing.T, config btrfs.Config, words string) {
	t.Helper()
	d, err := btrfs.Open(t.Context(), config, slog.New(slog.DiscardHandler))
	if err == nil {
		err = errors.Join(errors.New("opened"), d.Shutdown())
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("Open = %v; want %q", err, words)
	}
}

func TestOnePoolOneProcess(t *testing.T) {
	h := newPool(t, 256<<20)
	refuse(t, h.config, backend.ErrBusy.Error())
}

func TestAFileThatIsNoPoolIsLeftAlone(t *testing.T) {
	needsKernel(t)
	file := filepath.Join(t.TempDir(), "pool.img")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run.Command(t.Context(), "mkfs.ext4", "-q", file).Run(); err != nil {
		t.Skipf("needs mkfs.ext4 (package e2fsprogs): %v", err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, btrfs.Config{File: file, Mount: filepath.Join(t.TempDir(), "pool"), Reserve: 1}, "no btrfs")
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed (%v)", err)
	}
	if on := loops(t, file); on != "" {
		t.Errorf("loop devices left behind: %s", on)
	}
}

func TestAnExistingFolderHasToBeBtrfs(t *testing.T) {
	refuse(t, btrfs.Config{Path: "/proc"}, "not on a btrfs filesystem")
	h := newPool(t, 256<<20)
	dir := filepath.Join(h.config.Mount, "theirs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := open(t, btrfs.Config{Path: dir})
	path := h.Path(dataset)
	err := errors.Join(
		d.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		d.Mount(t.Context(), dataset, path),
		os.WriteFile(filepath.Join(path, backend.DataDir, "file"), []byte("1"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	if copies, err := d.List(t.Context()); err != nil || len(copies) != 1 || copies[0].Mounted != path {
		t.Errorf("List = %+v, %v; want the dataset mounted on %s", copies, err, path)
	}
	err = errors.Join(d.Unmount(t.Context(), dataset), d.Released(t.Context(), dataset, ""), d.Destroy(t.Context(), dataset), d.Shutdown())
	if err != nil {
		t.Error(err)
	}
}

func TestThePoolGrowsToItsLimitAndIsAllocated(t *testing.T) {
	h := newPool(t, 256<<20)
	if err := h.driver.Close(); err != nil {
		t.Fatal(err)
	}
	h.config.Limit = 600 << 20
	h.driver = open(t, h.config)
	if err := h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if err := h.driver.Mount(t.Context(), dataset, h.Path(dataset)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(h.driver.Unmount(t.Context(), dataset), h.driver.Destroy(t.Context(), dataset)); err != nil {
			t.Error(err)
		}
	}()
	free, _, err := h.driver.Space(t.Context())
	if err != nil || free < 550<<20 {
		t.Errorf("free = %d, %v; want nearly the limit", free, err)
	}
	for i := range 4 {
		if err := h.Write(dataset, strings.Repeat("x", i+1), make([]byte, 100<<20)); err != nil {
			t.Fatalf("write %d of 100 MiB: %v", i, err)
		}
		if err := h.driver.Grow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(h.config.File, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != h.config.Limit || st.Blocks*512 < st.Size {
		t.Errorf("pool file has %d bytes, %d of them allocated; want all of %d", st.Size, st.Blocks*512, h.config.Limit)
	}
	if err := h.Write(dataset, "too much", make([]byte, 300<<20)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write beyond the limit = %v; want %v", err, unix.ENOSPC)
	}
}

func TestTheReserveStaysFree(t *testing.T) {
	needsKernel(t)
	dir := t.TempDir()
	refuse(t, btrfs.Config{File: filepath.Join(dir, "pool.img"), Mount: filepath.Join(dir, "pool"), Reserve: 1 << 60}, "in reserve")
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAFullPoolReceivesNothing(t *testing.T) {
	a, b := newPool(t, 512<<20), newPool(t, 256<<20)
	err := errors.Join(
		a.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		a.driver.Mount(t.Context(), dataset, a.Path(dataset)),
		a.Write(dataset, "large", make([]byte, 350<<20)),
		a.driver.Unmount(t.Context(), dataset),
	)
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.driver.Snapshot(t.Context(), dataset, backend.Lineage{Epoch: 1, Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(a.driver.Send(t.Context(), dataset, s.Name, "", w)) }()
	_, err = b.driver.Receive(t.Context(), backend.Arrival{Dataset: dataset}, backendtest.Saying(s), r)
	if !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Receive = %v; want %v", err, backend.ErrNoSpace)
	}
	r.Close()
	if copies, err := b.driver.List(t.Context()); err != nil || len(copies) > 0 {
		t.Errorf("List = %+v, %v; want nothing", copies, err)
	}
	if err := b.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}); err != nil {
		t.Errorf("Create afterwards = %v", err)
	}
}

func TestSubvolumesInsideADatasetAreRefused(t *testing.T) {
	h := newPool(t, 256<<20)
	err := errors.Join(
		h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		h.driver.Mount(t.Context(), dataset, h.Path(dataset)),
		os.MkdirAll(filepath.Join(h.data(dataset), "a", "b"), 0o700),
	)
	if err != nil {
		t.Fatal(err)
	}
	subvolume(t, "create", filepath.Join(h.data(dataset), "a", "b", "nested"))
	subvolume(t, "create", filepath.Join(h.data(dataset), "a", "b", "nested", "deeper"))
	_, err = h.driver.Snapshot(t.Context(), dataset, backend.Lineage{Epoch: 1, Serial: 1})
	if !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), "a/b/nested") {
		t.Errorf("Snapshot = %v; want %v with the path", err, backend.ErrUnsupported)
	}
	if err := errors.Join(h.driver.Unmount(t.Context(), dataset), h.driver.Destroy(t.Context(), dataset)); err != nil {
		t.Error(err)
	}
}

func TestThePoolGrowsAsFastAsItIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 4 GiB")
	}
	needsKernel(t)
	const size = 2 << 30
	grown := func() (*btrfs.Driver, string) {
		dir, err := os.MkdirTemp("/var/tmp", "flocker-btrfs-") //nolint:usetesting // /tmp may be in memory, and a pool is large
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			err := errors.Join(mount.RemovePoint(filepath.Join(dir, "pool")), mount.RemovePoint(filepath.Join(dir, "mount")))
			if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
				t.Error(err)
			}
		})
		c := btrfs.Config{File: filepath.Join(dir, "pool.img"), Mount: filepath.Join(dir, "pool"), Initial: 512 << 20, Limit: 8 << 30, Reserve: 1 << 30}
		d := open(t, c)
		t.Cleanup(func() {
			if err := d.Shutdown(); err != nil {
				t.Error(err)
			}
		})
		return d, filepath.Join(dir, "mount")
	}
	source, path := grown()
	err := errors.Join(
		source.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		source.Mount(t.Context(), dataset, path),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := source.Unmount(t.Context(), dataset); err != nil {
			t.Error(err)
		}
	}()
	file, err := os.Create(filepath.Join(path, backend.DataDir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for written := 0; written < size; written += len(block) {
		if _, err := file.Write(block); err != nil {
			t.Fatalf("after %d MiB: %v", written>>20, err)
		}
	}
	snapshot, err := source.Snapshot(t.Context(), dataset, backend.Lineage{Epoch: 1, Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	target, _ := grown()
	r, w := io.Pipe()
	go func() { w.CloseWithError(source.Send(t.Context(), dataset, snapshot.Name, "", w)) }()
	if _, err := target.Receive(t.Context(), backend.Arrival{Dataset: dataset}, backendtest.Saying(snapshot), r); err != nil {
		t.Errorf("Receive = %v; want it to grow the pool as it goes", err)
	}
}
