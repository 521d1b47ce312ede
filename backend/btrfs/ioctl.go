// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/btrfs.h and linux/btrfs_tree.h.
const (
	flagReadOnly = 1 << 1

	treeRoot  = 1
	treeQuota = 8

	itemInode        = 1
	itemExtent       = 108
	itemQgroupStatus = 240
	itemQgroupInfo   = 242
	itemQgroupLimit  = 244
)

func ioc(dir, nr, size uintptr) uintptr { return dir<<30 | size<<16 | 0x94<<8 | nr }

const (
	iocNone  = 0
	iocWrite = 1
	iocRead  = 2
)

type (
	// volArgs is struct btrfs_ioctl_vol_args.
	volArgs struct {
		_    int64
		name [4088]byte
	}
	// volArgsV2 is struct btrfs_ioctl_vol_args_v2.
	volArgsV2 struct {
		fd    int64
		_     uint64 // transid
		flags uint64
		_     [4]uint64
		name  [4040]byte
	}
	timespec struct {
		sec  uint64
		nsec uint32
		_    uint32
	}
	// subvolInfo is struct btrfs_ioctl_get_subvol_info_args.
	subvolInfo struct {
		treeID                         uint64
		_                              [256]byte // name
		_                              [2]uint64 // where it is
		generation, flags              uint64
		uuid, parentUUID, receivedUUID uuid
		_                              uint64 // ctransid
		otransid                       uint64
		_                              [2]uint64 // stransid, rtransid
		_                              timespec  // ctime
		otime, stime                   timespec
		_                              timespec // rtime
		_                              [8]uint64
	}
	// rootRefs is struct btrfs_ioctl_get_subvol_rootref_args.
	rootRefs struct {
		_     uint64 // the first tree to list
		refs  [255]struct{ treeID, dirID uint64 }
		items uint8
		_     [7]uint8
	}
	// inoLookup is struct btrfs_ioctl_ino_lookup_args.
	inoLookup struct {
		_        uint64 // tree: that of the descriptor
		objectID uint64
		name     [4080]byte
	}
	// sendArgs is struct btrfs_ioctl_send_args.
	sendArgs struct {
		fd           int64
		cloneCount   uint64
		cloneSources *uint64
		parentRoot   uint64
		flags        uint64
		_            uint32 // version
		_            [28]uint8
	}
	// receivedArgs is struct btrfs_ioctl_received_subvol_args.
	receivedArgs struct {
		uuid     uuid
		stransid uint64
		_        uint64 // rtransid
		stime    timespec
		_        timespec   // rtime
		_        [17]uint64 // flags and what is reserved
	}
	// fsInfo is struct btrfs_ioctl_fs_info_args.
	fsInfo struct {
		_    [2]uint64
		fsid uuid
		_    [992]byte
	}
	quotaCtl struct {
		cmd uint64
		_   uint64 // status
	}
	quotaRescan  [8]uint64
	qgroupCreate struct{ create, id uint64 }
	qgroupLimit  struct {
		id, flags, maxReferenced uint64
		_                        [3]uint64 // the limits that are not set
	}
)

var (
	iocResize       = ioc(iocWrite, 3, unsafe.Sizeof(volArgs{}))
	iocSnapDestroy  = ioc(iocWrite, 15, unsafe.Sizeof(volArgs{}))
	iocTreeSearch   = ioc(iocRead|iocWrite, 17, unsafe.Sizeof(searchArgs{}))
	iocInoLookup    = ioc(iocRead|iocWrite, 18, unsafe.Sizeof(inoLookup{}))
	iocWaitSync     = ioc(iocWrite, 22, 8)
	iocSnapCreate   = ioc(iocWrite, 23, unsafe.Sizeof(volArgsV2{}))
	iocSubvolCreate = ioc(iocWrite, 24, unsafe.Sizeof(volArgsV2{}))
	iocStartSync    = ioc(iocRead, 24, 8)
	iocFsInfo       = ioc(iocRead, 31, unsafe.Sizeof(fsInfo{}))
	iocReceived     = ioc(iocRead|iocWrite, 37, unsafe.Sizeof(receivedArgs{}))
	iocSend         = ioc(iocWrite, 38, unsafe.Sizeof(sendArgs{}))
	iocQuotaCtl     = ioc(iocRead|iocWrite, 40, unsafe.Sizeof(quotaCtl{}))
	iocQgroupCreate = ioc(iocWrite, 42, unsafe.Sizeof(qgroupCreate{}))
	iocQgroupLimit  = ioc(iocRead, 43, unsafe.Sizeof(qgroupLimit{}))
	iocRescan       = ioc(iocWrite, 44, unsafe.Sizeof(quotaRescan{}))
	iocRescanWait   = ioc(iocNone, 46, 0)
	iocSubvolInfo   = ioc(iocRead, 60, unsafe.Sizeof(subvolInfo{}))
	iocRootRefs     = ioc(iocRead|iocWrite, 61, unsafe.Sizeof(rootRefs{}))
)

// ioctl is not interrupted by the signals with which Go's scheduler preempts.
func ioctl[T any](fd int, request uintptr, arg *T) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg)))
		runtime.KeepAlive(arg)
		switch {
		case errno == 0:
			return nil
		case !errors.Is(errno, unix.EINTR):
			return errno
		}
	}
}
