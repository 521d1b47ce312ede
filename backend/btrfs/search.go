// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"unsafe"
)

// searchArgs is struct btrfs_ioctl_search_args_v2 with struct btrfs_ioctl_search_key, without the result's space.
type searchArgs struct {
	tree                   uint64
	minObject, maxObject   uint64
	minOffset, maxOffset   uint64
	minTransid, maxTransid uint64
	minType, maxType       uint32
	items                  uint32
	_                      uint32
	_                      [4]uint64
	size                   uint64
}

// item is one item of a tree.
type item struct {
	object, offset uint64
	kind           uint32
	data           []byte
}

const (
	searchBuffer = 64 << 10
	itemHeader   = 32 // struct btrfs_ioctl_search_header
)

// items goes through a tree of the filesystem that fd is in, in blocks written in transaction since or later. Tree 0 is
// the subvolume that fd is in.
func items(fd int, tree, since uint64) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		buffer := make([]uint64, (unsafe.Sizeof(searchArgs{})+searchBuffer)/8)
		args := (*searchArgs)(unsafe.Pointer(&buffer[0]))
		*args = searchArgs{
			tree: tree, minTransid: since, maxTransid: math.MaxUint64,
			maxObject: math.MaxUint64, maxOffset: math.MaxUint64, maxType: math.MaxUint32,
		}
		result := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(args), unsafe.Sizeof(*args))), searchBuffer)
		for {
			args.items, args.size = math.MaxUint32, searchBuffer
			if err := ioctl(fd, iocTreeSearch, args); err != nil {
				yield(item{}, fmt.Errorf("search tree %d: %w", tree, err))
				return
			}
			if args.items == 0 {
				return
			}
			rest, last := result, item{}
			for range args.items {
				last, rest = nextItem(rest)
				if !yield(last, nil) {
					return
				}
			}
			if !args.after(last) {
				return
			}
		}
	}
}

func nextItem(b []byte) (item, []byte) {
	size := binary.NativeEndian.Uint32(b[28:])
	return item{
		object: binary.NativeEndian.Uint64(b[8:]),
		offset: binary.NativeEndian.Uint64(b[16:]),
		kind:   binary.NativeEndian.Uint32(b[24:]),
		data:   b[itemHeader : itemHeader+size],
	}, b[itemHeader+size:]
}

// after lets the search go on behind the last item; false at the end of all keys.
func (a *searchArgs) after(last item) bool {
	a.minObject, a.minType, a.minOffset = last.object, last.kind, last.offset
	switch {
	case a.minOffset < math.MaxUint64:
		a.minOffset++
	case a.minType < math.MaxUint8:
		a.minType, a.minOffset = a.minType+1, 0
	case a.minObject < math.MaxUint64:
		a.minObject, a.minType, a.minOffset = a.minObject+1, 0, 0
	default:
		return false
	}
	return true
}

// inodeTransid is where struct btrfs_inode_item keeps the transaction of the inode's last change.
const inodeTransid = 8

// changedSince says whether any inode of the subvolume was changed after a transaction. What is dirty in memory only
// does not show.
func changedSince(fd int, transid uint64) (bool, error) {
	for it, err := range items(fd, 0, transid+1) {
		if err != nil {
			return false, err
		}
		if it.kind == itemInode && binary.LittleEndian.Uint64(it.data[inodeTransid:]) > transid {
			return true, nil
		}
	}
	return false, nil
}

// Of struct btrfs_file_extent_item.
const (
	extentType     = 20
	extentDisk     = 21
	extentBytes    = 45
	extentItemSize = 53
)

// referenced counts the bytes of data that files of the subvolume refer to.
func referenced(fd int) (int64, error) {
	var total int64
	for it, err := range items(fd, 0, 0) {
		switch {
		case err != nil:
			return 0, err
		case it.kind != itemExtent:
		case it.data[extentType] == 0: // inline
			total += int64(len(it.data))
		case len(it.data) >= extentItemSize && binary.LittleEndian.Uint64(it.data[extentDisk:]) != 0:
			total += int64(binary.LittleEndian.Uint64(it.data[extentBytes:]))
		}
	}
	return total, nil
}
