// SPDX-License-Identifier: Apache-2.0

// Package filecopy copies what is in a folder onto another filesystem, with everything that programs can tell apart: owners, modes, access
// control lists and other extended attributes, times, hard links, holes, links, devices, pipes and sockets, whatever the names.
package filecopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrDiffers is a copy that is not what it was made of.
var ErrDiffers = errors.New("the copy differs from its source")

// ErrNoSpace is a target that has no room for what is to be copied.
var ErrNoSpace = errors.New("no room")

// State is how far a copy is.
type State struct {
	Phase string // what is done to the files: counting, copying or comparing
	Done  int64  // bytes
	Total int64  // bytes, as far as can be told before
}

// Phases of a copy.
const (
	Counting  = "counting"
	Copying   = "copying"
	Comparing = "comparing"
)

// Copy empties the folder to, fills it with what is in the folder from, flushes it, and compares what can then be read back with from: every
// entry with its attributes, and every byte. Nobody else may change either of them meanwhile. It begins anew each time, and what an error leaves
// is of no use. Links are never followed, and another filesystem below from is an error. told is called often; its error ends the copy.
func Copy(ctx context.Context, from, to string, told func(State) error) error {
	src, err := openFolder(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openFolder(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	c := &copier{root: dst}
	c.told = func(s State) error { return errors.Join(ctx.Err(), told(s)) }
	for _, do := range []func(src, dst *os.File) error{c.begin, c.clear, c.count, c.fill, c.flush, c.compare} {
		if err := do(src, dst); err != nil {
			return fmt.Errorf("copy the files in %s to %s: %w", from, to, err)
		}
	}
	return nil
}

func openFolder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	return f, nil
}

// copier makes one copy.
type copier struct {
	walk
	root  *os.File
	links map[inode]*first
	buf   []byte
	other []byte
}

// inode is a file of the source.
type inode struct{ dev, ino uint64 }

// first is where a file with several names got its first.
type first struct {
	path string
	left uint64 // names that are still to come
}

// bufferSize is how much is read at a time.
const bufferSize = 1 << 20

func (c *copier) begin(src, _ *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return failed("look at", ".", err)
	}
	c.dev, c.links = st.Dev, map[inode]*first{}
	c.buf, c.other = make([]byte, bufferSize), make([]byte, bufferSize)
	return nil
}

// clear removes what is in the target, and what its folder would hand down to new files.
func (c *copier) clear(_, dst *os.File) error {
	c.state = State{Phase: Counting}
	if err := c.empty(dst, "."); err != nil {
		return err
	}
	names, err := attributesOf(dst)
	if err != nil {
		return failed("read the attributes of", ".", err)
	}
	for _, name := range names {
		if err := unix.Removexattr(descriptor(dst), name); err != nil {
			return failed("remove attribute "+name+" of", ".", err)
		}
	}
	return nil
}

func (c *copier) empty(folder *os.File, path string) error {
	return c.each(folder, path, func(name string, st unix.Stat_t) error {
		at := filepath.Join(path, name)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return failed("remove", at, unix.Unlinkat(int(folder.Fd()), name, 0))
		}
		inner, err := openAt(folder, name, unix.O_DIRECTORY)
		if err != nil {
			return failed("open", at, err)
		}
		err = c.empty(inner, at)
		if err := errors.Join(err, inner.Close()); err != nil {
			return err
		}
		return failed("remove", at, unix.Unlinkat(int(folder.Fd()), name, unix.AT_REMOVEDIR))
	})
}

// count finds out how much there is, and whether there is room for it.
func (c *copier) count(src, dst *os.File) error {
	if err := c.weigh(src, ".", map[inode]bool{}); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(dst.Fd()), &fs); err != nil {
		return failed("look at the space of", ".", err)
	}
	if free := int64(fs.Bfree) * fs.Bsize; free < c.state.Total {
		return fmt.Errorf("%w: %d bytes are to be copied, and %d are free there", ErrNoSpace, c.state.Total, free)
	}
	return nil
}

func (c *copier) weigh(folder *os.File, path string, seen map[inode]bool) error {
	return c.each(folder, path, func(name string, st unix.Stat_t) error {
		at := filepath.Join(path, name)
		switch id := (inode{st.Dev, st.Ino}); {
		case st.Dev != c.dev:
			return fmt.Errorf("%q is another filesystem, which is not copied", at)
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			inner, err := openAt(folder, name, unix.O_DIRECTORY)
			if err != nil {
				return failed("open", at, err)
			}
			return errors.Join(c.weigh(inner, at, seen), inner.Close())
		case st.Mode&unix.S_IFMT != unix.S_IFREG || seen[id]:
			return nil
		case st.Nlink > 1:
			seen[id] = true
		}
		c.state.Total += min(st.Size, st.Blocks*blockUnit)
		return nil
	})
}

// blockUnit is what stat counts blocks in.
const blockUnit = 512

// flush returns once everything is on the target's disk.
func (c *copier) flush(_, dst *os.File) error {
	return failed("flush", ".", unix.Syncfs(int(dst.Fd())))
}

// failed says what could not be done to which entry; no error is none.
func failed(what, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", what, path, err)
}
