// SPDX-License-Identifier: Apache-2.0

package filecopy

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// walk goes through folders.
type walk struct {
	told  func(State) error
	state State
	dev   uint64
}

// tell says how far it is, and ends the copy where nobody wants it any more.
func (w *walk) tell() error { return w.told(w.state) }

// moved counts bytes.
func (w *walk) moved(n int) error {
	w.state.Done += int64(n)
	return w.tell()
}

// namesAtOnce bounds what is kept of a folder in memory.
const namesAtOnce = 1024

// each calls do for everything in a folder. What do removes is not missed, and nothing is added meanwhile.
func (w *walk) each(folder *os.File, path string, do func(name string, st unix.Stat_t) error) error {
	list, err := openAt(folder, ".", unix.O_DIRECTORY) // its own place in the listing
	if err != nil {
		return failed("open", path, err)
	}
	defer list.Close()
	for {
		names, err := list.Readdirnames(namesAtOnce)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return failed("list", path, err)
		}
		if err := w.tell(); err != nil {
			return err
		}
		for _, name := range names {
			st, err := statAt(folder, name)
			if err != nil {
				return failed("look at", filepath.Join(path, name), err)
			}
			if err := do(name, st); err != nil {
				return err
			}
		}
	}
}

func statAt(folder *os.File, name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(int(folder.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// openAt opens an entry of a folder, which it does not follow where that is a link. Reading is no access that is written down.
func openAt(folder *os.File, name string, flags int) (*os.File, error) {
	if flags&(unix.O_PATH|unix.O_WRONLY) == 0 {
		flags |= unix.O_NOATIME
	}
	fd, err := unix.Openat(int(folder.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// descriptor is a path of an open file, also of one that can only be looked at.
func descriptor(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }
