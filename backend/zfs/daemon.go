// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// daemonName is what zfs-fuse calls itself.
const daemonName = "zfs-fuse"

// letGo waits until zfs-fuse has let go of a filesystem that was unmounted: it does so only some time after the unmount. What is asked of it
// before that is refused, and some refusals (of a mount above all) leave a reference behind, with which the filesystem can never be destroyed. It is
// ErrBusy where somebody still holds the filesystem. The kernel's ZFS lets go with the unmount.
func (d *Driver) letGo(ctx context.Context, name string) error {
	if err := d.unanchor(ctx, name); err != nil {
		return err
	}
	gone := func() error {
		if dev := d.known(name).dev; dev == 0 || !served(dev) {
			return nil
		}
		return fmt.Errorf("%s: %w: zfs-fuse still has it", name, backend.ErrBusy)
	}
	err := patiently(ctx, usual, gone)
	if err != nil {
		if reused, tableErr := reused(d.known(name).dev, name); reused || tableErr != nil {
			err = tableErr
		} else if err = backend.Unused(ctx, d.target(name)); err == nil {
			err = patiently(ctx, slow, gone) // nobody has it but the daemon
		}
	}
	if err != nil {
		return err
	}
	d.know(name, func(s *state) { s.dev = 0 }) // the number is another's soon
	return nil
}

// noteNumber notes where a line was mounted. If a line had the number before, it has ended.
func (d *Driver) noteNumber(name string, dev uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.lines {
		if s.dev == dev {
			s.dev = 0
		}
	}
	d.lines[name].dev = dev
}

// reused says that a device number is that of another filesystem now.
func reused(dev uint64, name string) (bool, error) {
	table, err := mount.Table()
	return slices.ContainsFunc(table, func(e mount.Entry) bool { return e.Dev == dev && e.Source != name }), err
}

// served says that a daemon has a FUSE filesystem of that device number. Kernels that do not tell which one a descriptor is of
// (fdinfo has it since Linux 6.12) know of none.
func served(dev uint64) bool {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return false // the pattern is good
	}
	of := strconv.Itoa(int(unix.Minor(dev)))
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || string(bytes.TrimSpace(comm)) != daemonName {
			continue // gone, or another
		}
		if holds(filepath.Dir(name), of) {
			return true
		}
	}
	return false
}

// holds says that a process has the device of a FUSE connection open.
func holds(process, connection string) bool {
	fds, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return false // gone
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join(process, "fd", fd.Name())); err != nil || to != "/dev/fuse" {
			continue
		}
		info, err := os.ReadFile(filepath.Join(process, "fdinfo", fd.Name()))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(info)) {
			if value, is := strings.CutPrefix(line, "fuse_connection:"); is && strings.TrimSpace(value) == connection {
				return true
			}
		}
	}
	return false
}

const (
	// patience is how long something may be busy with what was ended just now, such as an unmount or a receive that was broken off.
	patience = 10 * time.Second
	// usual is how long zfs-fuse mostly takes to let go of a filesystem.
	usual = time.Second
	// slow is how long it takes at most, on a machine under heavy load. An application may wait for it in a move.
	slow    = 30 * time.Second
	between = 5 * time.Millisecond
	seldom  = 200 * time.Millisecond
)
