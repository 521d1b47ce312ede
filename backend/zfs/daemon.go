// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"bytes"
	"context"
	"errors"
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
	dev := d.known(name).dev
	if dev == 0 {
		return nil
	}
	err := patiently(ctx, func() error {
		if !served(dev) {
			return nil
		}
		return fmt.Errorf("%s: %w: zfs-fuse still has it", name, backend.ErrBusy)
	})
	if err != nil {
		table, tableErr := mount.Table()
		other := func(e mount.Entry) bool { return e.Dev == dev && e.Source != name }
		if tableErr != nil || !slices.ContainsFunc(table, other) {
			return errors.Join(err, tableErr)
		}
	}
	d.know(name, func(s *state) { s.dev = 0 }) // the number is another's soon
	return nil
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
	// patience is how long the daemon of zfs-fuse may keep a filesystem after it was unmounted, and a receive that was
	// broken off its own.
	patience = 10 * time.Second
	between  = 5 * time.Millisecond
)
