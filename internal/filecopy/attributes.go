// SPDX-License-Identifier: Apache-2.0

package filecopy

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// carried says whether an extended attribute belongs to a file's content. The others are a filesystem's own, such as btrfs.compression, or
// xfs's second name for an access control list.
func carried(name string) bool {
	return !strings.HasPrefix(name, "trusted.SGI_") && slices.ContainsFunc([]string{"user.", "trusted.", "security.", "system.posix_acl_"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// attributesOf are the names of the extended attributes that are copied, in order. A filesystem without any has none.
func attributesOf(f *os.File) ([]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.Listxattr(descriptor(f), buf) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(strings.Split(string(list), "\x00"), func(name string) bool { return !carried(name) })
	slices.Sort(names)
	return names, nil
}

func attributeOf(f *os.File, name string) ([]byte, error) {
	return sized(func(buf []byte) (int, error) { return unix.Getxattr(descriptor(f), name, buf) })
}

// sized asks with room enough.
func sized(ask func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := ask(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		buf := make([]byte, n)
		if n, err = ask(buf); !errors.Is(err, unix.ERANGE) {
			return buf[:max(n, 0)], err
		}
	}
}

// dressAt is dress for what cannot, or should not, be opened.
func dressAt(src, dst *os.File, path, name string) error {
	return both(src, dst, path, name, unix.O_PATH, unix.O_PATH, func(a, b *os.File) error { return dress(a, b, path) })
}

// dress gives a copy what its source has beside its content: the owner first, since a change of owner takes rights away; the mode before
// an access control list, which says more; the times last.
func dress(src, dst *os.File, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return failed("look at", path, err)
	}
	if err := unix.Fchownat(int(dst.Fd()), "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil {
		return failed("set the owner of", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(descriptor(dst), st.Mode&^unix.S_IFMT); err != nil {
			return failed("set the mode of", path, err)
		}
	}
	names, err := attributesOf(src)
	if err != nil {
		return failed("read the attributes of", path, err)
	}
	for _, name := range names {
		value, err := attributeOf(src, name)
		if err == nil {
			err = unix.Setxattr(descriptor(dst), name, value, 0)
		}
		if err != nil {
			return failed(fmt.Sprintf("copy attribute %s (%d bytes) of", name, len(value)), path, err)
		}
	}
	return failed("set the times of", path, unix.UtimesNanoAt(unix.AT_FDCWD, descriptor(dst), []unix.Timespec{st.Atim, st.Mtim}, 0))
}
