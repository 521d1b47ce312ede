// SPDX-License-Identifier: Apache-2.0

// Package mount reads mount tables, mounts and unmounts, and finds who uses a filesystem.
package mount

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrBusy says that a mount is in use.
var ErrBusy = errors.New("mount is in use")

// Bind mounts the folder source on point. Access times are not kept: reading must not change data.
func Bind(source, point string) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone the mount of %s: %w", source, err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_NOATIME,
		Attr_clr: unix.MOUNT_ATTR__ATIME,
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("set the attributes of the mount of %s: %w", source, err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, point, err)
	}
	return nil
}

// Device mounts the filesystem of a block device on point.
func Device(device, point, fstype, options string) error {
	if err := unix.Mount(device, point, fstype, unix.MS_NOATIME, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", device, point, err)
	}
	return nil
}

// Unmount is never lazy. What is in use is ErrBusy; what is not mounted is success.
func Unmount(point string) error {
	err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EINVAL): // not a mount point
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("unmount %s: %w", point, ErrBusy)
	}
	return fmt.Errorf("unmount %s: %w", point, err)
}
