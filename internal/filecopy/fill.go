// SPDX-License-Identifier: Apache-2.0

package filecopy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fill makes everything of the source in the target. What a folder would hand down to its entries, and its times, it gets last.
func (c *copier) fill(src, dst *os.File) error {
	c.state.Phase = Copying
	return c.fillFolder(src, dst, ".")
}

func (c *copier) fillFolder(src, dst *os.File, path string) error {
	if err := c.each(src, path, func(name string, st unix.Stat_t) error {
		return c.entry(src, dst, filepath.Join(path, name), name, st)
	}); err != nil {
		return err
	}
	return dress(src, dst, path)
}

// entry makes one entry of a folder.
func (c *copier) entry(src, dst *os.File, path, name string, st unix.Stat_t) error {
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		if linked, err := c.link(dst, path, name, st); linked || err != nil {
			return err
		}
	}
	switch kind {
	case unix.S_IFDIR:
		return c.folder(src, dst, path, name)
	case unix.S_IFREG:
		return c.file(src, dst, path, name, st)
	case unix.S_IFLNK:
		to, err := readLink(src, name)
		if err == nil {
			err = unix.Symlinkat(to, int(dst.Fd()), name)
		}
		if err != nil {
			return failed("make the link", path, err)
		}
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		if err := unix.Mknodat(int(dst.Fd()), name, kind|0o600, int(st.Rdev)); err != nil {
			return failed("make the device, pipe or socket", path, err)
		}
	default:
		return fmt.Errorf("%q is of a kind that is not known: %#o", path, kind)
	}
	return dressAt(src, dst, path, name)
}

func (c *copier) folder(src, dst *os.File, path, name string) error {
	if err := unix.Mkdirat(int(dst.Fd()), name, 0o700); err != nil {
		return failed("make the folder", path, err)
	}
	return both(src, dst, path, name, unix.O_DIRECTORY, unix.O_DIRECTORY, func(a, b *os.File) error { return c.fillFolder(a, b, path) })
}

func (c *copier) file(src, dst *os.File, path, name string, st unix.Stat_t) error {
	return both(src, dst, path, name, unix.O_RDONLY, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, func(a, b *os.File) error {
		if err := c.content(a, b, st.Size); err != nil {
			return failed("copy", path, err)
		}
		return dress(a, b, path)
	})
}

// both opens an entry in both folders.
func both(src, dst *os.File, path, name string, read, write int, do func(a, b *os.File) error) error {
	a, err := openAt(src, name, read)
	if err != nil {
		return failed("open", path, err)
	}
	defer a.Close()
	b, err := openAt(dst, name, write)
	if err != nil {
		return failed("open the copy of", path, err)
	}
	return errors.Join(do(a, b), b.Close())
}

// content copies what is not a hole.
func (c *copier) content(src, dst *os.File, size int64) error {
	for at := int64(0); at < size; {
		begin, end, err := data(src, at, size)
		if err != nil {
			return err
		}
		for at = begin; at < end; {
			n, err := src.ReadAt(c.buf[:min(bufferSize, end-at)], at)
			if n == 0 {
				return fmt.Errorf("read at %d: %w", at, err)
			}
			if _, err := dst.WriteAt(c.buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
			if err := c.moved(n); err != nil {
				return err
			}
		}
	}
	return dst.Truncate(size)
}

// data is where a file's next data is, from a place on; it begins at the end where there is none.
func data(f *os.File, from, size int64) (begin, end int64, err error) {
	if begin, err = unix.Seek(int(f.Fd()), from, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err == nil {
		end, err = unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look for data from %d on: %w", from, err)
	}
	return min(begin, size), min(end, size), nil
}

// link gives a file that is there already another name.
func (c *copier) link(dst *os.File, path, name string, st unix.Stat_t) (linked bool, err error) {
	id := inode{st.Dev, st.Ino}
	was := c.links[id]
	if was == nil {
		c.links[id] = &first{path, uint64(st.Nlink) - 1} //nolint:unconvert // it is smaller on other processors
		return false, nil
	}
	if was.left--; was.left == 0 {
		delete(c.links, id)
	}
	folder, err := c.beneath(filepath.Dir(was.path))
	if err != nil {
		return false, failed("open the folder of", was.path, err)
	}
	err = unix.Linkat(int(folder.Fd()), filepath.Base(was.path), int(dst.Fd()), name, 0)
	return true, failed("link "+was.path+" as", path, errors.Join(err, folder.Close()))
}

// beneath opens a folder of the target, however long its path is.
func (c *copier) beneath(path string) (*os.File, error) {
	at, err := openAt(c.root, ".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil || path == "." {
		return at, err
	}
	for name := range strings.SplitSeq(path, "/") {
		next, err := openAt(at, name, unix.O_PATH|unix.O_DIRECTORY)
		if err := errors.Join(err, at.Close()); err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func readLink(folder *os.File, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(folder.Fd()), name, buf)
	return string(buf[:max(n, 0)]), err
}
