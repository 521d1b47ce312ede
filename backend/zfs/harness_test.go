// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/backendtest/contract"
	"github.com/flocker-project/flocker/backend/zfs"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

// harness is a ZFS pool in a file of its own. Two of them on one machine play two nodes.
type harness struct {
	driver *zfs.Driver
	config zfs.Config
	pool   string
	dir    string
}

// newPool makes a pool, with the parent filesystem beside other things in it, and takes everything down after the test.
func newPool(t testing.TB, size int64) *harness {
	t.Helper()
	return newPoolWith(t, size)
}

// newPoolWith is newPool with options of `zpool create`.
func newPoolWith(t testing.TB, size int64, options ...string) *harness {
	t.Helper()
	needsZFS(t)
	// Not t.TempDir: /tmp may be in memory, and a pool is large.
	dir, err := os.MkdirTemp("/var/tmp", "flocker-zfs-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	name := "flocker" + strings.ReplaceAll(uuid.NewString(), "-", "")
	h := &harness{pool: name, dir: dir, config: zfs.Config{Pool: name + "/flocker", MountRoot: filepath.Join(dir, "flocker")}}
	file := filepath.Join(dir, "pool.img")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.unmountPoints(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	command(t, "zpool", slices.Concat([]string{"create", "-m", "none", "-o", "cachefile=none"}, options, []string{name, file})...)
	h.driver = open(t, h.config)
	t.Cleanup(func() {
		if err := errors.Join(h.driver.Close(), h.unmountPoints()); err != nil {
			t.Error(err)
		}
		h.destroyPool(t)
	})
	return h
}

// destroyPool waits until zfs-fuse has let go of what was unmounted just now.
func (h *harness) destroyPool(t testing.TB) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		err := run.Command(context.WithoutCancel(t.Context()), "zpool", "destroy", "-f", h.pool).Run()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Error(err)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unmountPoints removes every mount point.
func (h *harness) unmountPoints() error {
	points, err := filepath.Glob(filepath.Join(h.dir, "flocker", "*"))
	for _, point := range points {
		err = errors.Join(err, unmount(point), mount.RemovePoint(point))
	}
	return err
}

// unmount does as the driver: without the anchor the end of the filesystem may take zfs-fuse with it.
func unmount(point string) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	on, ok := mount.At(table, point)
	if !ok || on.Type == "zfs" {
		return mount.Unmount(point)
	}
	anchor, err := mount.NewAnchor(point, on.Dev)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), daemonWithin)
	defer cancel()
	return errors.Join(mount.Unmount(point), anchor.Quiet(ctx), anchor.Close())
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := run.Command(context.WithoutCancel(t.Context()), name, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func open(t testing.TB, config zfs.Config) *zfs.Driver {
	t.Helper()
	d, err := zfs.Open(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
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

func (h *harness) Path(id cluster.DatasetID) string {
	return filepath.Join(h.config.MountRoot, string(id))
}

func (h *harness) data(id cluster.DatasetID) string {
	return filepath.Join(h.Path(id), backend.DataDir)
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
		return h.detached(t, id, false)
	case backendtest.HeldByMapping:
		return h.detached(t, id, true)
	case backendtest.HeldByNamespace:
		return namespace(t)
	}
	t.Fatalf("unknown way %q", how)
	return nil
}

// detached holds a file through a mount that is in no mount table any more.
func (h *harness) detached(t *testing.T, id cluster.DatasetID, mapped bool) (release func()) {
	t.Helper()
	elsewhere := t.TempDir()
	if err := mount.Bind(h.data(id), elsewhere); err != nil {
		t.Fatal(err)
	}
	release = hold(t, elsewhere, mapped)
	mustAll(t, unix.Unmount(elsewhere, unix.MNT_DETACH))
	return release
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

// owner is what names below the parent begin with.
func (h *harness) owner(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(command(t, "zfs", "get", "-Hp", "-o", "value", "org.flocker:parent", h.config.Pool))
}

// Interrupt leaves a head without its data folder that is still mounted, a snapshot that was received but not accepted, a probe of a head, and a
// half destroyed line.
func (h *harness) Interrupt(t *testing.T, id cluster.DatasetID) {
	t.Helper()
	made := []string{
		"-o", "canmount=noauto", "-o", "mountpoint=" + h.Path(id),
		"-o", "org.flocker:dataset=" + string(id), "-o", `org.flocker:head={"epoch":7}`,
	}
	if err := mount.MakePoint(h.Path(id)); err != nil {
		t.Fatal(err)
	}
	below := h.config.Pool + "/flocker.incoming/"
	command(t, "zfs", append(append([]string{"create"}, made...), below+"NEW")...)
	command(t, "zfs", "mount", below+"NEW")
	command(t, "zfs", "create", below+"RECEIVED")
	command(t, "zfs", "snapshot", below+"RECEIVED@flocker.in.X")
	command(t, "zfs", "hold", "flocker", below+"RECEIVED@flocker.in.X")
	name := h.config.Pool + "/" + h.owner(t) + ".default." + string(id)
	half := append(append([]string{"create"}, made...), "-o", "org.flocker:ending=whole", name+".OLD")
	command(t, "zfs", half...)
	snapshot := name + ".OLD@" + backend.Lineage{Epoch: 1, Serial: 5}.Name()
	command(t, "zfs", "snapshot", snapshot)
	command(t, "zfs", "hold", "flocker", snapshot)
	if err := run.Command(t.Context(), "zfs", "list", name).Run(); err == nil {
		command(t, "zfs", "snapshot", name+"@flocker.probe.X")
	}
}

// Foreign puts filesystems wherever a user might have, one of them named as the original's.
func (h *harness) Foreign(t *testing.T) func() error {
	t.Helper()
	names := []string{h.pool + "/mine", h.config.Pool + "/mine", h.config.Pool + "/" + h.owner(t) + ".default." + uuid.NewString()}
	lineage := "@" + backend.Lineage{Epoch: 1, Serial: 1}.Name()
	for _, name := range names {
		command(t, "zfs", "create", "-o", "mountpoint=none", name)
		command(t, "zfs", "snapshot", name+lineage)
		t.Cleanup(func() { command(t, "zfs", "destroy", "-r", name) })
	}
	return func() error {
		for _, name := range names {
			if err := run.Command(context.WithoutCancel(t.Context()), "zfs", "list", "-t", "all", name, name+lineage).Run(); err != nil {
				return fmt.Errorf("a foreign thing is gone: %w", err)
			}
		}
		return nil
	}
}

func TestContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness { return newPool(t, 512<<20) })
}

// left wants nothing below flocker.incoming and no snapshots of ours that are not whole.
func (h *harness) left(t testing.TB) {
	t.Helper()
	names := command(t, "zfs", "list", "-H", "-o", "name", "-r", "-t", "all", h.config.Pool)
	for name := range strings.Lines(names) {
		if strings.Contains(name, "flocker.incoming/") || strings.Contains(name, "/flocker.clone.") || strings.Contains(name, "@flocker.") {
			t.Errorf("left behind: %s", name)
		}
	}
}
