// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// figures reads what the kernel tells of the pool's space in sysfs. The pool is looked at some times a second for as long as
// the agent runs, so the files stay open: a read from their start makes them anew.
type figures struct {
	mu    sync.Mutex
	files map[string]*os.File
}

// allocation reads one of the kernel's figures of the pool; without sysfs, as in some sandboxes, it is 0: then the watch still looks
// often enough for slow writers.
func (d *Driver) allocation(figure string) (int64, error) {
	n, err := d.figures.read("/sys/fs/btrfs/" + d.fsid + "/allocation/" + figure)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("space of the pool: %w", err)
	}
	return n, nil
}

func (f *figures) read(path string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, open := f.files[path]
	if !open {
		var err error
		if file, err = os.Open(path); err != nil {
			return 0, err
		}
		if f.files == nil {
			f.files = map[string]*os.File{}
		}
		f.files[path] = file
	}
	var text [32]byte
	n, err := unix.Pread(int(file.Fd()), text[:], 0) // ReadAt would ask once more for the end
	if err != nil {
		delete(f.files, path)
		return 0, errors.Join(err, file.Close())
	}
	return strconv.ParseInt(string(bytes.TrimSpace(text[:n])), 10, 64)
}

func (f *figures) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	f.files = nil
	return errors.Join(errs...)
}
