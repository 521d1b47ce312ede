// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Detached is a mounted filesystem that is on no path yet. It ends with Close, or with this process, unless it was moved
// to a path before.
type Detached struct {
	fd     int
	device string
}

// OpenDevice mounts the filesystem of a block device on no path. Access times are not kept. An option without a value
// is a flag.
func OpenDevice(device, fstype string, options map[string]string) (*Detached, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open filesystem %s: %w", fstype, err)
	}
	defer unix.Close(fs)
	if err := configure(fs, device, options); err != nil {
		return nil, fmt.Errorf("mount %s of %s: %w%s", fstype, device, err, complaint(fs))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOATIME)
	if err != nil {
		return nil, fmt.Errorf("mount %s of %s: %w%s", fstype, device, err, complaint(fs))
	}
	return &Detached{fd: fd, device: device}, nil
}

func configure(fs int, device string, options map[string]string) error {
	if err := unix.FsconfigSetString(fs, "source", device); err != nil {
		return err
	}
	for key, value := range options {
		set := unix.FsconfigSetString(fs, key, value)
		if value == "" {
			set = unix.FsconfigSetFlag(fs, key)
		}
		if set != nil {
			return fmt.Errorf("option %s: %w", key, set)
		}
	}
	err := unix.FsconfigCreate(fs)
	if errors.Is(err, unix.EBUSY) {
		return ErrBusy
	}
	return err
}

// complaint is what the kernel says of a filesystem that it does not mount.
func complaint(fs int) string {
	var said strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 0 {
			return said.String()
		}
		if words := strings.TrimSpace(string(buf[:n])); len(words) > 2 {
			said.WriteString(": " + words[2:]) // after "e ", "w " or "i "
		}
	}
}

// Root opens the filesystem's root folder.
func (d *Detached) Root() (*os.File, error) {
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the root of %s: %w", d.device, err)
	}
	return os.NewFile(uintptr(fd), d.device), nil
}

// MoveTo puts the filesystem on a path, where it then stays.
func (d *Detached) MoveTo(point string) error {
	if err := unix.MoveMount(d.fd, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s on %s: %w", d.device, point, err)
	}
	return nil
}

// Close unmounts the filesystem where it was moved to no path.
func (d *Detached) Close() error { return unix.Close(d.fd) }
