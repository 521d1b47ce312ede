// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MakePoint makes the folder point to mount on, such that nothing can be put in it while nothing is mounted: mode 0,
// and immutable where the filesystem below knows that flag. The folder above it is kept from everyone but root.
func MakePoint(point string) error {
	if err := os.MkdirAll(filepath.Dir(point), 0o700); err != nil {
		return fmt.Errorf("make the folder of mount point %s: %w", point, err)
	}
	switch err := os.Mkdir(point, 0); {
	case errors.Is(err, os.ErrExist):
	case err != nil:
		return fmt.Errorf("make mount point %s: %w", point, err)
	}
	return setImmutable(point, true)
}

// RemovePoint removes what MakePoint made. Absent is success; a folder with something in it or on it is an error.
func RemovePoint(point string) error {
	var st unix.Stat_t
	if err := unix.Lstat(point, &st); errors.Is(err, unix.ENOENT) {
		return nil
	}
	mounted, err := Mounted(point)
	if err != nil {
		return err
	}
	if mounted {
		return fmt.Errorf("remove mount point %s: %w", point, ErrBusy)
	}
	if err := setImmutable(point, false); err != nil {
		return err
	}
	if err := unix.Rmdir(point); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove mount point %s: %w", point, err)
	}
	return nil
}

// fsImmutable is FS_IMMUTABLE_FL of linux/fs.h, the flag that chattr +i sets.
const fsImmutable = 0x10

func setImmutable(dir string, on bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open mount point %s: %w", dir, err)
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, 0, &st); err != nil {
		return fmt.Errorf("stat mount point %s: %w", dir, err)
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return nil // already mounted on: what is seen here is another's root
	}
	old, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return nil // a filesystem without flags: mode 0 alone has to do
	}
	flags := old &^ fsImmutable
	if on {
		flags |= fsImmutable
	}
	if flags == old {
		return nil
	}
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags); err != nil && !on {
		return fmt.Errorf("clear the immutable flag of %s: %w", dir, err)
	}
	return nil
}
