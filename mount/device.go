// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// OpenExclusive opens a block device to which nobody else has laid claim: it is ErrBusy where it is mounted, in any mount
// namespace, or otherwise in use by the kernel or by somebody who opened it like this.
func OpenExclusive(device string) (*os.File, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("open %s: %w", device, ErrBusy)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: device, Err: err}
	}
	return os.NewFile(uintptr(fd), device), nil
}

// DeviceSize is the size of an open block device in bytes.
func DeviceSize(device *os.File) (int64, error) {
	size, err := device.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", device.Name(), err)
	}
	return size, nil
}

// DeviceNumber is the number of a block device, as in Entry.
func DeviceNumber(device string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: device, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, fmt.Errorf("%s is no block device", device)
	}
	return st.Rdev, nil
}

// Of are the entries of a table that are mounts of a block device. btrfs has device numbers of its own and is told by the
// name that it was mounted with.
func Of(entries []Entry, device string) ([]Entry, error) {
	number, err := DeviceNumber(device)
	if err != nil {
		return nil, err
	}
	var found []Entry
	for _, e := range entries {
		if e.Dev == number || e.Type == "btrfs" && e.Source == device {
			found = append(found, e)
		}
	}
	return found, nil
}
