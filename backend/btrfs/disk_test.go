// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
)

// A write that fails after it was accepted is nobody's error until it is asked for: the snapshot would look whole.
func TestAWriteThatTheDiskRefusesIsNoSnapshot(t *testing.T) {
	for _, files := range []int{1, 300} { // more than are asked one by one
		t.Run(fmt.Sprintf("OfFiles%d", files), func(t *testing.T) { refusedByDisk(t, files) })
	}
}

func refusedByDisk(t *testing.T, files int) {
	source := newPool(t, 512<<20)
	err := errors.Join(
		source.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		source.driver.Mount(t.Context(), dataset, source.Path(dataset)),
	)
	for i := range files {
		err = errors.Join(err, source.Write(dataset, fmt.Sprint("file", i), bytes.Repeat([]byte("x"), (150<<20)/files)))
	}
	if err := errors.Join(err, source.driver.Unmount(t.Context(), dataset)); err != nil {
		t.Fatal(err)
	}
	snapshot, err := source.driver.Snapshot(t.Context(), dataset, backend.Lineage{Epoch: 1, Serial: 1})
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := source.driver.Send(t.Context(), dataset, snapshot.Name, "", &stream); err != nil {
		t.Fatal(err)
	}
	target := newPoolIn(t, brokenDisk(t, 600<<20), 512<<20)
	breakBeyond(t, target, 100<<20)
	if got, err := target.driver.Receive(t.Context(), backend.Arrival{Dataset: dataset}, backendtest.Saying(snapshot), &stream); err == nil {
		t.Errorf("Receive on a disk that fails = %+v; want an error", got)
	}
	if copies, err := target.driver.List(t.Context()); err != nil || len(copies) > 0 && len(copies[0].Snapshots) > 0 {
		t.Errorf("List = %+v, %v; want no snapshot", copies, err)
	}
}

// brokenDisk is a folder of so many bytes, in memory.
func brokenDisk(t *testing.T, size int64) string {
	t.Helper()
	needsKernel(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	inside := filepath.Join(dir, "pool")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	return inside
}

// breakBeyond takes the room below a part of the pool away, which holds nothing yet: writes to it fail.
func breakBeyond(t *testing.T, h *harness, offset int64) {
	t.Helper()
	file, err := os.OpenFile(h.config.File, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, h.config.Initial-offset)
	if err != nil {
		t.Fatal(err)
	}
	fill, err := os.Create(filepath.Join(filepath.Dir(h.config.File), "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for err == nil {
		_, err = fill.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}
