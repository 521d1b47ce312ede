// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Of linux/btrfs.h: how limits are set.
const (
	quotaEnable        = 1
	limitReferenced    = 1
	clearLimit         = math.MaxUint64
	statusRescan       = 2
	statusInconsistent = 4
)

// qgroup is what the kernel counts of a subvolume, and its limit.
type qgroup struct {
	referenced, exclusive int64
	limit                 int64 // 0: none
}

// qgroups reads all of them, as of the last commit. Without quotas on the filesystem there are none.
func (d *Driver) qgroups() (groups map[uint64]qgroup, on bool, err error) {
	groups = map[uint64]qgroup{}
	inconsistent := false
	err = within(d.root, func(fd int) error {
		for it, err := range items(fd, treeQuota, 0) {
			if err != nil {
				return err
			}
			g, field := groups[it.offset], func(n int) int64 { return int64(binary.LittleEndian.Uint64(it.data[n*8:])) }
			switch it.kind {
			case itemQgroupStatus:
				inconsistent = field(2)&statusInconsistent != 0 && field(2)&statusRescan == 0
				continue
			case itemQgroupInfo:
				g.referenced, g.exclusive = field(1), field(3)
			case itemQgroupLimit:
				if field(0)&limitReferenced != 0 && uint64(field(1)) != clearLimit {
					g.limit = field(1)
				}
			default:
				continue
			}
			groups[it.offset] = g
		}
		if inconsistent {
			return rescan(fd)
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, false, nil
	}
	return groups, err == nil, err
}

// rescan lets the kernel count anew, in the background.
func rescan(fd int) error {
	err := ioctl(fd, iocRescan, new(quotaRescan))
	if errors.Is(err, unix.EINPROGRESS) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("count the quotas anew: %w", err)
	}
	return nil
}

// limit sets the size of a head; 0 is unlimited. Quotas cost work at every snapshot, so that they are turned on with
// the first limit.
func (d *Driver) limit(head string, size int64) error {
	d.quota.Lock()
	defer d.quota.Unlock()
	_, on, err := d.qgroups()
	if err != nil || !on && size == 0 {
		return err
	}
	info, err := subvolumeInfo(head)
	if err != nil {
		return err
	}
	// Not through the head itself: there even raising its limit needs room below the old one.
	return within(d.root, func(fd int) error {
		if !on {
			if err := enableQuotas(fd); err != nil {
				return err
			}
		}
		args := &qgroupLimit{id: info.treeID, flags: limitReferenced, maxReferenced: clearLimit}
		if size > 0 {
			args.maxReferenced = uint64(size)
		}
		err := ioctl(fd, iocQgroupLimit, args)
		if errors.Is(err, unix.ENOENT) { // made while quotas were off
			if err := ioctl(fd, iocQgroupCreate, &qgroupCreate{create: 1, id: info.treeID}); err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("make the quota of %s: %w", head, err)
			}
			err = ioctl(fd, iocQgroupLimit, args)
		}
		if err != nil {
			return fmt.Errorf("limit %s to %d bytes: %w", head, size, err)
		}
		return nil
	})
}

func enableQuotas(fd int) error {
	if err := ioctl(fd, iocQuotaCtl, &quotaCtl{cmd: quotaEnable}); err != nil {
		return fmt.Errorf("enable quotas: %w", err)
	}
	if err := ioctl(fd, iocRescanWait, new(uint64)); err != nil {
		return fmt.Errorf("wait for quotas: %w", err)
	}
	return nil
}

// used is how much a head refers to, counted now.
func (d *Driver) used(head string) (int64, error) {
	if err := commit(head); err != nil { // the kernel counts when it commits
		return 0, err
	}
	info, err := subvolumeInfo(head)
	if err != nil {
		return 0, err
	}
	groups, on, err := d.qgroups()
	if err != nil || on {
		return groups[info.treeID].referenced, err
	}
	var bytes int64
	return bytes, within(head, func(fd int) (err error) {
		bytes, err = referenced(fd)
		return err
	})
}
