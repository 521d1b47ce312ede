// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of the kernel's ext4.h, xfs_fs.h and btrfs.h.
const (
	ext4ResizeFS  = 0x40086610 // _IOW('f', 16, __u64)
	xfsGeometryV1 = 0x80705864 // _IOR('X', 100, struct xfs_fsop_geom_v1)
	xfsGrowData   = 0x4010586e // _IOW('X', 110, struct xfs_growfs_data)
	btrfsResize   = 0x50009403 // _IOW(0x94, 3, struct btrfs_ioctl_vol_args)
)

type (
	// xfsGeometry is struct xfs_fsop_geom_v1.
	xfsGeometry struct {
		blockSize uint32
		_         [6]uint32
		imaxPct   uint32
		_         [80]byte
	}
	// xfsGrowth is struct xfs_growfs_data.
	xfsGrowth struct {
		blocks  uint64
		imaxPct uint32
		_       uint32
	}
	// btrfsVolume is struct btrfs_ioctl_vol_args.
	btrfsVolume struct {
		_    int64
		name [4088]byte
	}
)

// Enlarge lets a mounted filesystem use the first size bytes of its device. root is its root folder.
func Enlarge(root *os.File, fstype string, size int64) error {
	var err error
	switch fstype {
	case "ext4":
		blocks := uint64(size) >> 12
		err = order(root, ext4ResizeFS, &blocks)
	case "xfs":
		var geometry xfsGeometry
		if err = order(root, xfsGeometryV1, &geometry); err == nil {
			growth := xfsGrowth{blocks: uint64(size) / uint64(geometry.blockSize), imaxPct: geometry.imaxPct}
			err = order(root, xfsGrowData, &growth)
		}
	case "btrfs":
		// Less than 256 MiB it takes for a mistake, even where that is what it has.
		var fs unix.Statfs_t
		if err = unix.Fstatfs(int(root.Fd()), &fs); err != nil || int64(fs.Blocks)*fs.Bsize >= size {
			break
		}
		volume := new(btrfsVolume)
		copy(volume.name[:], fmt.Sprintf("1:%d", size))
		err = order(root, btrfsResize, volume)
	default:
		err = fmt.Errorf("filesystem %q is none of %v", fstype, Formats())
	}
	if errors.Is(err, unix.EPERM) && fstype == "ext4" {
		err = fmt.Errorf("%w: ext4 grows only for those that have CAP_SYS_RESOURCE", err)
	}
	if err != nil {
		return fmt.Errorf("enlarge the %s of %s: %w", fstype, root.Name(), err)
	}
	return nil
}

// order is an ioctl, which is not interrupted by the signals with which Go's scheduler preempts.
func order[T any](f *os.File, request uintptr, arg *T) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(arg)))
		runtime.KeepAlive(arg)
		switch {
		case errno == 0:
			return nil
		case !errors.Is(errno, unix.EINTR):
			return errno
		}
	}
}
