// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

// minPool is the smallest pool: below it btrfs is all metadata.
const minPool = 256 << 20

// poolFile is a pool that Flocker made for itself: a file, allocated in steps, on a loop device.
type poolFile struct {
	config Config
}

// open makes the pool if there is none, and mounts it if it is not.
func (p poolFile) open(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(p.config.File), 0o700); err != nil {
		return fmt.Errorf("folder of the pool: %w", err)
	}
	switch _, err := os.Stat(p.config.File); {
	case errors.Is(err, os.ErrNotExist):
		if err := p.create(ctx); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("pool file: %w", err)
	}
	return p.mount(ctx)
}

// create makes the filesystem under another name, so that a pool file that exists is never formatted.
func (p poolFile) create(ctx context.Context) error {
	fresh := p.config.File + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unfinished pool file: %w", err)
	}
	free, err := hostFree(filepath.Dir(fresh))
	if err != nil {
		return err
	}
	size := min(p.config.Initial, free-p.config.Reserve)
	if size < minPool {
		return fmt.Errorf("make the pool %s: %w: %d bytes are free on its filesystem, %d are kept in reserve, the smallest pool has %d",
			p.config.File, backend.ErrNoSpace, free, p.config.Reserve, int64(minPool))
	}
	file, err := os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make the pool: %w", err)
	}
	defer file.Close()
	if err := allocate(file, 0, size); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	if err := run.Command(ctx, "mkfs.btrfs", "--quiet", "--nodiscard", "--label", "flocker",
		"--metadata", "single", "--data", "single", fresh).Run(); err != nil {
		return errors.Join(fmt.Errorf("format the pool (package btrfs-progs): %w", err), os.Remove(fresh))
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("make the pool %s: %w", fresh, err)
	}
	if err := os.Rename(fresh, p.config.File); err != nil {
		return fmt.Errorf("make the pool: %w", err)
	}
	return syncDir(filepath.Dir(p.config.File))
}

func (p poolFile) mount(ctx context.Context) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	device, err := findLoop(p.config.File)
	if err != nil {
		return err
	}
	if device != nil {
		defer device.Close()
	}
	if on, mounted := mount.At(table, p.config.Mount); mounted {
		if device == nil || on.Source != device.Name() {
			return fmt.Errorf("%s on %s is mounted where the pool %s belongs", on.Source, p.config.Mount, p.config.File)
		}
		return p.fill(device)
	}
	if device == nil {
		if err := isBtrfs(p.config.File); err != nil {
			return err
		}
		if device, err = attachLoop(ctx, p.config.File); err != nil {
			return err
		}
		defer device.Close()
	}
	if err := mount.MakePoint(p.config.Mount); err != nil {
		return err
	}
	// Discards would punch holes into the file, and others could take the room.
	if err := mount.Device(device.Name(), p.config.Mount, "btrfs", "nodiscard"); err != nil {
		return err
	}
	return p.fill(device)
}

// fill makes the device and the filesystem as large as the file, which a crash may have left larger.
func (p poolFile) fill(device *os.File) error {
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("grow %s: %w", device.Name(), err)
	}
	args := new(volArgs)
	copy(args.name[:], "max")
	return within(p.config.Mount, func(fd int) error {
		if err := ioctl(fd, iocResize, args); err != nil {
			return fmt.Errorf("grow the filesystem of pool %s: %w", p.config.File, err)
		}
		return nil
	})
}

// size is the file's, and room how much it could still grow.
func (p poolFile) size() (size, room int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(p.config.File, &st); err != nil {
		return 0, 0, fmt.Errorf("size of the pool %s: %w", p.config.File, err)
	}
	free, err := hostFree(filepath.Dir(p.config.File))
	if err != nil {
		return 0, 0, err
	}
	room = free - p.config.Reserve
	if p.config.Limit > 0 {
		room = min(room, p.config.Limit-st.Size)
	}
	return st.Size, max(room, 0) / allocationUnit * allocationUnit, nil
}

// allocationUnit keeps the file's size a multiple of what btrfs uses of a device.
const allocationUnit = 1 << 20

// grow makes the pool larger by up to step bytes, less where there is less room, and says by how much.
func (p poolFile) grow(step int64) (int64, error) {
	size, room, err := p.size()
	if err != nil {
		return 0, err
	}
	return p.extend(size, min(step, room))
}

// emergency makes the pool larger than it may be, once.
func (p poolFile) emergency() (int64, error) {
	size, room, err := p.size()
	if err != nil {
		return 0, err
	}
	step := int64(emergencyRoom)
	if p.config.Limit > 0 {
		step = min(step, p.config.Limit+emergencyRoom-size)
	}
	free, err := hostFree(filepath.Dir(p.config.File))
	if err != nil {
		return 0, err
	}
	if room > 0 || free < p.config.Reserve/2 {
		step = min(step, room) // it could grow as it is, or has taken its part of the reserve
	}
	return p.extend(size, step)
}

func (p poolFile) extend(size, step int64) (int64, error) {
	if step < allocationUnit {
		return 0, nil
	}
	file, err := os.OpenFile(p.config.File, os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("grow the pool: %w", err)
	}
	defer file.Close()
	if err := allocate(file, size, step); err != nil {
		return 0, err
	}
	device, err := findLoop(p.config.File)
	if err != nil {
		return 0, err
	}
	if device == nil {
		return 0, fmt.Errorf("grow the pool %s: it is on no loop device", p.config.File)
	}
	defer device.Close()
	return step, p.fill(device)
}

// allocate takes room on the filesystem below for good: a sparse pool would fail in the middle of a write.
func allocate(file *os.File, from, size int64) error {
	for {
		switch err := unix.Fallocate(int(file.Fd()), 0, from, size); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("allocate %d bytes for the pool %s: %w", size, file.Name(), sentinel(err))
		default:
			return nil
		}
	}
}

func hostFree(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

// isBtrfs looks for the superblock, to refuse a file that is something else with words instead of the kernel's.
func isBtrfs(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("pool file: %w", err)
	}
	defer f.Close()
	magic := make([]byte, 8)
	if _, err := f.ReadAt(magic, 0x10040); err != nil || string(magic) != "_BHRfS_M" {
		return fmt.Errorf("pool file %s holds no btrfs filesystem; it is left alone: move it away, or give another place", file)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
