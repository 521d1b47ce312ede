// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotShared says that a filesystem keeps no blocks that two files have.
var ErrNotShared = errors.New("its filesystem cannot share blocks between files, as btrfs, and xfs made with reflink, can")

// probed is how much of a file is shared to see whether that can be.
const probed = 64 << 10

// Shares tries whether files in a folder can share blocks, with two that have no name. The reason is nil where they can, and ErrNotShared
// where they cannot; in a folder without room it says that, which is no error: what is there has to go on.
func Shares(dir string) (reason, err error) {
	err = tryShare(dir)
	if errors.Is(err, ErrNotShared) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return err, nil
	}
	return nil, err
}

func tryShare(dir string) error {
	from, err := nameless(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := nameless(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := from.Write(make([]byte, probed)); err != nil {
		return fmt.Errorf("try whether files in %s can share blocks: %w", dir, err)
	}
	return ShareBlocks(to, from)
}

// nameless is a file in a folder that goes away with its last user.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return nil, fmt.Errorf("try whether files in %s can share blocks: %w", dir, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("try whether files in %s can share blocks: %w", dir, err), f.Close())
	}
	return f, nil
}

// ShareBlocks gives an empty file the content that another has at one instant: whoever writes to either gets blocks of its own.
func ShareBlocks(to, from *os.File) error {
	err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%s: %w: %w", filepath.Dir(from.Name()), ErrNotShared, err)
	}
	return fmt.Errorf("share the blocks of %s: %w", from.Name(), err)
}

// compared is how much of two files is compared at once.
const compared = 64 << 10

// SameContent compares what two files hold, passing over where neither has anything; beyond the end of one there are zeros.
func SameContent(a, b *os.File) (bool, error) {
	for at := int64(0); ; at += compared {
		one, err1 := dataFrom(a, at)
		other, err2 := dataFrom(b, at)
		if err := errors.Join(err1, err2); err != nil {
			return false, err
		}
		if at = min(one, other); at == math.MaxInt64 {
			return true, nil
		}
		x, y := make([]byte, compared), make([]byte, compared)
		if _, err := a.ReadAt(x, at); err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("compare %s with %s: %w", a.Name(), b.Name(), err)
		}
		if _, err := b.ReadAt(y, at); err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("compare %s with %s: %w", a.Name(), b.Name(), err)
		}
		if !bytes.Equal(x, y) {
			return false, nil
		}
	}
}

// dataFrom is where a file has something at or after a place, math.MaxInt64 where it has nothing (ENXIO, see lseek(2)).
func dataFrom(f *os.File, at int64) (int64, error) {
	data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return math.MaxInt64, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for what %s holds: %w", f.Name(), err)
	}
	return data, nil
}

// SameFiles is SameContent of two paths.
func SameFiles(one, other string) (same bool, err error) {
	a, err := os.Open(one)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer b.Close()
	return SameContent(a, b)
}
