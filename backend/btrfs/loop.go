// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Of linux/loop.h and linux/magic.h.
const (
	loopAutoclear = 4
	loopDirectIO  = 16
	loopMajor     = 7
	fuseMagic     = 0x65735546
)

// loopAttempts bounds the race with others who take free loop devices at the same time.
const loopAttempts = 64

// attachLoop makes the file a block device. The device goes away with its last user, so the caller closes it only
// after it is mounted.
func attachLoop(ctx context.Context, file string) (*os.File, error) {
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("attach a loop device: %w", err)
	}
	defer backing.Close()
	config := &unix.LoopConfig{Fd: uint32(backing.Fd()), Size: 4096}
	config.Info.Flags = loopAutoclear
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(backing.Fd()), &fs); err != nil {
		return nil, fmt.Errorf("attach a loop device to %s: %w", file, err)
	}
	if fs.Type != fuseMagic { // some servers of FUSE files corrupt direct I/O
		config.Info.Flags |= loopDirectIO
	}
	copy(config.Info.File_name[:], file)
	for range loopAttempts {
		device, err := freeLoop()
		if err != nil {
			return nil, fmt.Errorf("attach a loop device to %s: %w", file, err)
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), config)
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach %s to %s: %w", device.Name(), file, err)
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("attach a loop device to %s: %w", file, err)
		}
	}
	return nil, fmt.Errorf("attach a loop device to %s: %d free ones were taken by others first", file, loopAttempts)
}

func freeLoop() (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("loop devices are needed (module loop): %w", err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("find a free loop device: %w", err)
	}
	return openLoop(n)
}

// openLoop opens a loop device, whose node may be missing where /dev is not the kernel's own.
func openLoop(n int) (*os.File, error) {
	path := "/dev/loop" + strconv.Itoa(n)
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return device, err
	}
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(loopMajor, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

// findLoop opens the loop device that a file is attached to, nil if there is none. A file is told by its inode: its
// path may differ between mount namespaces.
func findLoop(file string) (*os.File, error) {
	var want unix.Stat_t
	if err := unix.Stat(file, &want); err != nil {
		return nil, fmt.Errorf("find the loop device of %s: %w", file, err)
	}
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	for _, path := range attached {
		backing, err := os.ReadFile(path)
		if err != nil || filepath.Base(strings.TrimSpace(string(backing))) != filepath.Base(file) {
			continue // detached meanwhile, or another file: to open a device keeps it from going away
		}
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(filepath.Dir(path))), "loop"))
		if err != nil {
			continue // not one of the kernel's names
		}
		device, err := openLoop(n)
		if err != nil {
			return nil, err
		}
		info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
		if err == nil && info.Device == want.Dev && info.Inode == want.Ino {
			return device, nil
		}
		device.Close()
		if err != nil && !errors.Is(err, unix.ENXIO) { // detached meanwhile
			return nil, fmt.Errorf("status of %s: %w", device.Name(), err)
		}
	}
	return nil, nil
}
