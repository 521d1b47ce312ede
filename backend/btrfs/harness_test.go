// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/backendtest/contract"
	"github.com/flocker-project/flocker/backend/btrfs"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

// harness is a btrfs pool in a file of its own, on a loop device of its own.
type harness struct {
	driver *btrfs.Driver
	config btrfs.Config
	mounts string
}

// newPool makes a pool and takes everything down after the test.
func newPool(t testing.TB, size int64) *harness {
	t.Helper()
	needsKernel(t)
	// Not t.TempDir: /tmp may be in memory, and a pool is large.
	dir, err := os.MkdirTemp("/var/tmp", "flocker-btrfs-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	return newPoolIn(t, dir, size)
}

// newPoolIn makes a pool in a folder and removes the folder with it.
func newPoolIn(t testing.TB, dir string, size int64) *harness {
	t.Helper()
	t.Cleanup(func() {
		points, err := filepath.Glob(filepath.Join(dir, "flocker", "*"))
		for _, point := range points {
			err = errors.Join(err, mount.Unmount(point), mount.RemovePoint(point))
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	h := &harness{
		config: btrfs.Config{
			File: filepath.Join(dir, "pool.img"), Mount: filepath.Join(dir, "pool"),
			Initial: size, Limit: size, Reserve: 1,
		},
		mounts: filepath.Join(dir, "flocker"),
	}
	h.driver = open(t, h.config)
	t.Cleanup(func() {
		if err := h.driver.Shutdown(); err != nil {
			t.Error(err)
		}
		// Others that start containers just now have copies of this mount for a moment.
		deadline := time.After(10 * time.Second)
		for attached := loops(t, h.config.File); attached != ""; attached = loops(t, h.config.File) {
			select {
			case <-deadline:
				t.Errorf("loop devices left behind: %s", attached)
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return h
}

func needsKernel(t testing.TB) {
	t.Helper()
	if me, err := user.Current(); err != nil || me.Uid != "0" {
		t.Skip("btrfs pools need root")
	}
	if err := run.Command(t.Context(), "btrfs", "version").Run(); err != nil {
		t.Skipf("btrfs pools need package btrfs-progs: %v", err)
	}
	if known, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(known, []byte("\tbtrfs\n")) {
		if err := run.Command(t.Context(), "modprobe", "btrfs").Run(); err != nil {
			t.Skipf("the kernel has no btrfs: %v", err)
		}
	}
}

func open(t testing.TB, config btrfs.Config) *btrfs.Driver {
	t.Helper()
	d, err := btrfs.Open(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// loops are the loop devices that a file is attached to.
func loops(t testing.TB, file string) string {
	t.Helper()
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var on []string
	for _, path := range attached {
		if backing, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(backing)) == file {
			on = append(on, path)
		}
	}
	return strings.Join(on, " ")
}

func (h *harness) Driver() backend.Driver { return h.driver }

func (h *harness) Reopen(t *testing.T) backend.Driver {
	t.Helper()
	if err := h.driver.Close(); err != nil {
		t.Fatal(err)
	}
	h.driver = open(t, h.config)
	return h.driver
}

func (h *harness) Root(id cluster.DatasetID) (cluster.Root, error) {
	return contract.RootAt(h.Path(id))
}

func (h *harness) Path(id cluster.DatasetID) string { return filepath.Join(h.mounts, string(id)) }

func (h *harness) data(id cluster.DatasetID) string {
	return filepath.Join(h.Path(id), backend.DataDir)
}

// inPool is a path below the driver's own folder.
func (h *harness) inPool(parts ...string) string {
	return filepath.Join(append([]string{h.config.Mount, "flocker"}, parts...)...)
}

func (h *harness) Write(id cluster.DatasetID, name string, data []byte) error {
	f, err := os.OpenFile(filepath.Join(h.data(id), name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func (h *harness) Files(id cluster.DatasetID) (map[string][]byte, error) {
	files := map[string][]byte{}
	root := os.DirFS(h.data(id))
	return files, fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(root, path)
		return err
	})
}

func (h *harness) Hold(t *testing.T, id cluster.DatasetID, how backendtest.Held) func() {
	t.Helper()
	switch how {
	case backendtest.HeldThroughMount:
		return hold(t, h.data(id), false)
	case backendtest.HeldByDescriptor:
		return hold(t, h.inPool("datasets", string(id), "head", backend.DataDir), false)
	case backendtest.HeldByMapping:
		return hold(t, h.inPool("datasets", string(id), "head", backend.DataDir), true)
	case backendtest.HeldByNamespace:
		return namespace(t)
	}
	t.Fatalf("unknown way %q", how)
	return nil
}

// hold opens the first file of a folder, or keeps only a mapping of it.
func hold(t *testing.T, dir string, mapped bool) (release func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "first"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !mapped {
		return func() { f.Close() }
	}
	data, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Munmap(data); err != nil {
			t.Error(err)
		}
	}
}

// namespace lets a process have a mount namespace of its own, with a copy of every mount.
func namespace(t *testing.T) (release func()) {
	t.Helper()
	stdin, stop, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	told, ready, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := run.Command(context.WithoutCancel(t.Context()), "unshare", "--mount", "sh", "-c", "echo ready && read _ || :")
	cmd.Stdin, cmd.Stdout = stdin, ready
	if err := errors.Join(cmd.Start(), stdin.Close(), ready.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := told.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(stop.Close(), cmd.Wait(), told.Close()); err != nil {
			t.Error(err)
		}
	}
}

// Interrupt leaves a head without its data folder, a snapshot that was received but not accepted, and half of a
// destroyed volume.
func (h *harness) Interrupt(t *testing.T, id cluster.DatasetID) {
	t.Helper()
	received := h.inPool("incoming", "X", backend.Lineage{Epoch: 1, Serial: 5}.Name())
	half := h.inPool("trash", string(id)+".X", "head")
	fresh := h.inPool("datasets", string(id), "new")
	for _, path := range []string{received, half, fresh} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		subvolume(t, "create", path)
	}
	if err := os.WriteFile(filepath.Join(received, "file"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run.Command(t.Context(), "btrfs", "property", "set", received, "ro", "true").Run(); err != nil {
		t.Fatal(err)
	}
}

// Foreign puts a subvolume and a file wherever a user might have.
func (h *harness) Foreign(t *testing.T) func() error {
	t.Helper()
	volume := filepath.Join(h.config.Mount, "mine")
	beside := h.inPool("datasets", "mine")
	file := filepath.Join(h.config.Mount, "notes")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{volume, beside} {
		subvolume(t, "create", path)
		t.Cleanup(func() { subvolume(t, "delete", path) })
	}
	return func() error {
		for _, path := range []string{volume, beside, file} {
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("a foreign thing is gone: %w", err)
			}
		}
		return nil
	}
}

func subvolume(t *testing.T, what, path string) {
	t.Helper()
	if err := run.Command(context.WithoutCancel(t.Context()), "btrfs", "subvolume", what, path).Run(); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness { return newPool(t, 512<<20) })
}
