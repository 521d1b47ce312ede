// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest/contract"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/mount"
)

// dataset is another in each run: mkfs.btrfs refuses a UUID that any device of the machine has.
var dataset = cluster.DatasetID(uuid.NewString())

// disk is a store of one volume, a file.
type disk struct {
	backend.Volume
	file   string
	device string
}

func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	runtest.Need(t)
	// Not t.TempDir: /tmp may be in memory, which knows no direct I/O.
	dir, err := os.MkdirTemp("/var/tmp", "flocker-block-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{Volume: backend.Volume{ID: "disk", Dataset: dataset, Size: size}, file: filepath.Join(dir, "disk")}
	t.Cleanup(func() {
		if err := errors.Join(d.Detach(context.Background(), d.Volume), os.RemoveAll(dir)); err != nil { //nolint:usetesting // after the test
			t.Error(err)
		}
	})
	d.clear(t)
	return d
}

// clear makes the disk what a store makes.
func (d *disk) clear(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	d.change(t, func(f *os.File) error { return f.Truncate(d.Size) })
}

// change changes what is on the disk while it is detached.
func (d *disk) change(t *testing.T, f func(*os.File) error) {
	t.Helper()
	file, err := os.OpenFile(d.file, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(f(file), file.Sync(), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (d *disk) sum(t *testing.T) (sum [sha256.Size]byte) {
	t.Helper()
	d.change(t, func(f *os.File) error {
		digest := sha256.New()
		_, err := io.Copy(digest, f)
		copy(sum[:], digest.Sum(nil))
		return err
	})
	return sum
}

func (d *disk) Machine(context.Context) (string, error) { return "here", nil }
func (d *disk) List(context.Context) ([]backend.Volume, error) {
	return []backend.Volume{d.Volume}, nil
}
func (d *disk) Destroy(context.Context, backend.Volume) error { return nil }
func (d *disk) Attached(context.Context) (map[string]string, error) {
	if d.device == "" {
		return nil, nil
	}
	return map[string]string{d.ID: d.device}, nil
}

func (d *disk) Create(context.Context, backend.Spec) (backend.Volume, error) { return d.Volume, nil }

func (d *disk) Attach(ctx context.Context, _ backend.Volume) (string, error) {
	if d.device != "" {
		return d.device, nil
	}
	file, err := os.OpenFile(d.file, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	d.device, err = mount.MakeLoop(ctx, file, d.ID)
	return d.device, err
}

func (d *disk) Detach(ctx context.Context, _ backend.Volume) error {
	if d.device == "" {
		return nil
	}
	err := mount.RemoveLoop(ctx, mount.Loop{Device: d.device, File: d.file})
	if err == nil {
		d.device = ""
	}
	return err
}

func (d *disk) driver(t *testing.T, filesystem string) *Driver {
	t.Helper()
	driver, err := New(t.Context(), d, Config{Filesystem: filesystem})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	})
	return driver
}

func spec() backend.Spec { return backend.Spec{Dataset: dataset, Epoch: 3, Root: asked} }

// asked is whose the data folder is to be.
var asked = cluster.Root{UID: 7, GID: 8, Mode: "0700"}

// wantWhole wants an empty head of epoch 3 and no complaint of the filesystem's own checker. It leaves the disk detached.
func wantWhole(t *testing.T, d *disk, driver *Driver, filesystem string) {
	t.Helper()
	must(t, driver.SetEpoch(t.Context(), dataset, 3, ""))
	root, err := driver.held[dataset].fs.Root()
	must(t, err)
	entries, err := os.ReadDir(filepath.Join(descriptor(root), backend.DataDir))
	if err != nil || len(entries) > 0 {
		t.Errorf("the data folder has %v, %v; want nothing", entries, err)
	}
	if got, err := contract.RootAt(descriptor(root)); err != nil || got != asked {
		t.Errorf("the data folder is %+v, %v; want %+v", got, err, asked)
	}
	must(t, root.Close())
	must(t, driver.Released(t.Context(), dataset, ""))
	check := map[string][]string{
		"ext4": {"e2fsck", "-f", "-n"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check", "--readonly"},
	}[filesystem]
	if err := run.Command(t.Context(), check[0], append(check[1:], d.device)...).Run(); err != nil {
		t.Error(err)
	}
	must(t, driver.Detach(t.Context(), dataset))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// block4k is one block of a disk that is not zero.
type block4k struct {
	at   int64
	data []byte
}

// blocks are all those of a detached disk that are not zero.
func (d *disk) blocks(t *testing.T) (all []block4k) {
	t.Helper()
	d.change(t, func(f *os.File) error {
		for at := int64(0); ; {
			begin, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
			if errors.Is(err, unix.ENXIO) {
				return nil
			}
			end, err2 := unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
			if err := errors.Join(err, err2); err != nil {
				return err
			}
			for at = begin &^ 4095; at < end; at += 4096 {
				data := make([]byte, 4096)
				if _, err := f.ReadAt(data, at); err != nil {
					return err
				}
				if zero, err := isZero(f, at, 4096); err != nil || !zero {
					all = append(all, block4k{at, data})
				}
			}
		}
	})
	return all
}
