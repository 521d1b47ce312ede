// SPDX-License-Identifier: Apache-2.0

package filecopy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// compare reads what is on the target's disk, and not what is still in memory of it.
func (c *copier) compare(src, dst *os.File) error {
	c.state.Phase, c.state.Done = Comparing, 0
	c.links = map[inode]*first{}
	return c.compareFolder(src, dst, ".")
}

func (c *copier) compareFolder(src, dst *os.File, path string) error {
	if err := alike(src, dst, path); err != nil {
		return err
	}
	count := 0
	if err := c.each(src, path, func(name string, st unix.Stat_t) error {
		count++
		return c.compareEntry(src, dst, filepath.Join(path, name), name, st)
	}); err != nil {
		return err
	}
	if err := c.each(dst, path, func(string, unix.Stat_t) error { count--; return nil }); err != nil {
		return err
	}
	if count != 0 {
		return differs(path, "number of entries")
	}
	return nil
}

func differs(path, what string) error { return fmt.Errorf("%w: the %s of %q", ErrDiffers, what, path) }

func (c *copier) compareEntry(src, dst *os.File, path, name string, st unix.Stat_t) error {
	flags := unix.O_PATH
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		flags = unix.O_DIRECTORY
	case unix.S_IFREG:
		flags = unix.O_RDONLY
	case unix.S_IFLNK:
		was, errA := readLink(src, name)
		is, errB := readLink(dst, name)
		if was != is || errA != nil || errB != nil {
			return differs(path, "target")
		}
	}
	// What is not of its source's kind is opened as nothing else: a pipe would wait.
	if other, err := statAt(dst, name); err != nil || other.Mode != st.Mode {
		return differs(path, "kind or mode")
	}
	return both(src, dst, path, name, flags, flags, func(a, b *os.File) error {
		if flags == unix.O_DIRECTORY {
			return c.compareFolder(a, b, path)
		}
		if err := alike(a, b, path); err != nil || flags != unix.O_RDONLY || c.compared(path, st) {
			return err
		}
		return c.compareContent(a, b, path, st.Size)
	})
}

// compared says whether a file was looked at under another name.
func (c *copier) compared(path string, st unix.Stat_t) bool {
	id := inode{st.Dev, st.Ino}
	if st.Nlink < 2 || c.links[id] != nil {
		return st.Nlink > 1
	}
	c.links[id] = &first{path: path}
	return false
}

// compareContent reads what is data in either file.
func (c *copier) compareContent(src, dst *os.File, path string, size int64) error {
	if err := unix.Fadvise(int(dst.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return failed("forget what is in memory of the copy of", path, err)
	}
	for at := int64(0); at < size; {
		ours, _, err := data(src, at, size)
		if err != nil {
			return failed("read", path, err)
		}
		theirs, _, err := data(dst, at, size)
		if err != nil {
			return failed("read the copy of", path, err)
		}
		if at = min(ours, theirs); at == size {
			return nil
		}
		n := min(bufferSize, size-at)
		if _, err := src.ReadAt(c.buf[:n], at); err != nil {
			return failed("read", path, err)
		}
		if _, err := dst.ReadAt(c.other[:n], at); err != nil {
			return failed("read the copy of", path, err)
		}
		if !bytes.Equal(c.buf[:n], c.other[:n]) {
			return differs(path, fmt.Sprintf("content from %d on", at))
		}
		at += n
		if err := c.moved(int(n)); err != nil {
			return err
		}
	}
	return nil
}

// alike compares all that dress sets, and the size of what has one.
func alike(src, dst *os.File, path string) error {
	var a, b unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &a); err != nil {
		return failed("look at", path, err)
	}
	if err := unix.Fstat(int(dst.Fd()), &b); err != nil {
		return failed("look at the copy of", path, err)
	}
	folder := a.Mode&unix.S_IFMT == unix.S_IFDIR // its size and links are its filesystem's own
	switch {
	case a.Mode != b.Mode:
		return differs(path, "mode")
	case a.Uid != b.Uid || a.Gid != b.Gid:
		return differs(path, "owner")
	case a.Rdev != b.Rdev:
		return differs(path, "device number")
	case !folder && (a.Size != b.Size || a.Nlink != b.Nlink):
		return differs(path, "size or number of links")
	case a.Mtim != b.Mtim && (b.Mtim != unix.Timespec{Sec: a.Mtim.Sec}): // some filesystems keep whole seconds
		return differs(path, "time of change")
	}
	return alikeAttributes(src, dst, path)
}

func alikeAttributes(src, dst *os.File, path string) error {
	ours, err := attributesOf(src)
	if err != nil {
		return failed("read the attributes of", path, err)
	}
	theirs, err := attributesOf(dst)
	if err != nil {
		return failed("read the attributes of the copy of", path, err)
	}
	if !slices.Equal(ours, theirs) {
		return differs(path, fmt.Sprintf("list of attributes (%v, and was %v)", theirs, ours))
	}
	for _, name := range ours {
		was, err := attributeOf(src, name)
		if err != nil {
			return failed("read attribute "+name+" of", path, err)
		}
		is, err := attributeOf(dst, name)
		if err != nil {
			return failed("read attribute "+name+" of the copy of", path, err)
		}
		if !bytes.Equal(was, is) {
			return differs(path, "attribute "+name)
		}
	}
	return nil
}
