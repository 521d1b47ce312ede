// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// beneath keeps every path that a stream names inside one subvolume: symbolic links are not followed and no mount is
// crossed, whoever sends the stream and whatever it has made there (openat2(2)).
type beneath struct {
	root   int
	dir    string // whose descriptor is kept
	dirFD  int
	file   string // the file being written, whose descriptor is the last of written
	fileFD int

	written []int // descriptors of files that were written, for writeOut
	more    bool  // there were more of them
}

const (
	closed = -1
	// mostWritten bounds the descriptors that are kept for a look at their files' errors.
	mostWritten = 256
)

// errDisk says that what was written did not all reach the disk.
var errDisk = errors.New("the disk below the pool refused a write (the kernel's log has more)")

func openBeneath(dir string) (*beneath, error) {
	root, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	return &beneath{root: root, dirFD: closed, fileFD: closed}, nil
}

// forget lets go of what is kept by its name; to be called when a name may mean something else than before.
func (b *beneath) forget() error {
	b.fileFD = closed
	if b.dirFD == closed {
		return nil
	}
	err := unix.Close(b.dirFD)
	b.dirFD = closed
	return err
}

func (b *beneath) close() error {
	errs := []error{b.forget(), unix.Close(b.root)}
	for _, fd := range b.written {
		errs = append(errs, unix.Close(fd))
	}
	b.written = nil
	return errors.Join(errs...)
}

// writeOut has the disk take all that was written, and says whether it did. A write that the disk refuses is the error of
// nobody who does not ask: a snapshot is taken of what is left. Each file is asked; after very many files the filesystem
// is, which writes out other datasets' data too.
func (b *beneath) writeOut() error {
	const begin, whole = unix.SYNC_FILE_RANGE_WRITE, unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	var errs []error
	for _, how := range []int{begin, whole} { // all begin before any is waited for
		for _, fd := range b.written {
			errs = append(errs, unix.SyncFileRange(fd, 0, 0, how))
		}
	}
	if b.more {
		errs = append(errs, unix.Syncfs(b.root))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	return nil
}

// open opens a path; "" is the subvolume itself.
func (b *beneath) open(name string, flags uint64) (int, error) {
	if name == "" {
		name = "."
	}
	for {
		fd, err := unix.Openat2(b.root, name, &unix.OpenHow{
			Flags:   flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
		})
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return closed, fmt.Errorf("open %q: %w", name, err)
		}
	}
}

// parent is the folder that holds a path, kept open, and the path's last name.
func (b *beneath) parent(name string) (int, string, error) {
	if name == "" {
		return b.root, ".", nil
	}
	dir, last := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if dir == "" {
		return b.root, last, nil
	}
	if b.dirFD != closed && b.dir == dir {
		return b.dirFD, last, nil
	}
	fd, err := b.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return closed, "", err
	}
	if b.dirFD != closed {
		err = unix.Close(b.dirFD)
	}
	b.dir, b.dirFD = dir, fd
	return fd, last, err
}

// writable is the file's descriptor, kept open for the next write and for writeOut.
func (b *beneath) writable(name string) (int, error) {
	if b.fileFD != closed && b.file == name {
		return b.fileFD, nil
	}
	if len(b.written) == mostWritten {
		// The oldest goes: errors that it has not told of yet are the filesystem's too.
		b.more = true
		oldest := b.written[0]
		b.written = b.written[1:]
		if err := unix.Close(oldest); err != nil {
			return closed, err
		}
	}
	fd, err := b.data(name, unix.O_WRONLY)
	if err != nil {
		return closed, err
	}
	b.written = append(b.written, fd)
	b.file, b.fileFD = name, fd
	return fd, nil
}

// data opens a file's data, of a regular file only: opening anything else may wait, and a device's data is outside.
func (b *beneath) data(name string, flags int) (fd int, err error) {
	err = b.found(name, func(found int, path string) error {
		var st unix.Stat_t
		if err := unix.Fstat(found, &st); err != nil {
			return fmt.Errorf("stat %q: %w", name, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return fmt.Errorf("%w: %q has no data", errStream, name)
		}
		if fd, err = unix.Open(path, flags|unix.O_NOATIME|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open %q: %w", name, err)
		}
		return nil
	})
	return fd, err
}

// reached calls f with a path by which calls that know no descriptor reach the very object, a symbolic link included.
func (b *beneath) reached(name string, f func(path string) error) error {
	return b.found(name, func(_ int, path string) error { return f(path) })
}

func (b *beneath) found(name string, f func(fd int, path string) error) error {
	fd, err := b.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd, "/proc/self/fd/"+strconv.Itoa(fd))
}
