// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Bounds of what is asked of the disk before it is needed.
const (
	aheadBytes  = 8 << 20
	aheadPlaces = 256
)

// readAhead opens the files of extents, and asks the disk for many extents before they are read.
type readAhead struct {
	root    *beneath
	extents []extent
	asked   int   // of the extents
	given   int   // of the extents
	bytes   int64 // asked for and not given yet
	files   []opened
}

// opened is a file that stays open while its extents, which follow each other, are asked for and given.
type opened struct {
	path string
	fd   int
	last int // of its extents that were asked for
}

// next is the descriptor of the next extent's file, until the call after.
func (a *readAhead) next() (int, error) {
	if a.given > 0 {
		a.bytes -= a.extents[a.given-1].size
	}
	for a.asked < len(a.extents) && (a.asked == a.given || a.bytes < aheadBytes && a.asked-a.given < aheadPlaces) {
		if err := a.ask(); err != nil {
			return closed, err
		}
	}
	for len(a.files) > 1 && a.files[0].last < a.given {
		if err := unix.Close(a.files[0].fd); err != nil {
			return closed, err
		}
		a.files = a.files[1:]
	}
	a.given++
	return a.files[0].fd, nil
}

// ask has the kernel begin to read the next extent that it was not asked for.
func (a *readAhead) ask() error {
	e := a.extents[a.asked]
	if n := len(a.files); n == 0 || a.files[n-1].path != e.path {
		fd, err := a.root.data(e.path, unix.O_RDONLY)
		if err != nil {
			return err
		}
		a.files = append(a.files, opened{path: e.path, fd: fd})
	}
	f := &a.files[len(a.files)-1]
	f.last = a.asked
	if err := unix.Fadvise(f.fd, e.offset, e.size, unix.FADV_WILLNEED); err != nil {
		return fmt.Errorf("read %q: %w", e.path, err)
	}
	a.asked++
	a.bytes += e.size
	return nil
}

func (a *readAhead) close() error {
	var errs []error
	for _, f := range a.files {
		errs = append(errs, unix.Close(f.fd))
	}
	a.files = nil
	return errors.Join(errs...)
}
