// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Anchor keeps a FUSE filesystem from ending with the last one who uses it. The kernel tells a daemon of a closed file
// in the background, and drops what it has not yet told when the filesystem ends. A daemon that then believes in an open
// file for ever, as zfs-fuse does, answers nobody any more.
type Anchor struct {
	clone   int    // a copy of the mount, on no path
	control int    // the kernel's filesystem about FUSE, on no path
	waiting string // file in it that counts the requests the daemon has not answered
}

// NewAnchor keeps what is mounted on point, of that device number.
func NewAnchor(point string, dev uint64) (*Anchor, error) {
	control, err := openControl()
	if err != nil {
		return nil, err
	}
	a := &Anchor{control: control, waiting: filepath.Join(strconv.Itoa(int(unix.Minor(dev))), "waiting")}
	if _, err := a.requests(); err != nil {
		return nil, errors.Join(fmt.Errorf("FUSE filesystem on %s: %w", point, err), unix.Close(control))
	}
	a.clone, err = unix.OpenTree(unix.AT_FDCWD, point, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clone the mount on %s: %w", point, err), unix.Close(control))
	}
	return a, nil
}

func openControl() (int, error) {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open filesystem fusectl: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("open filesystem fusectl: %w", err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount fusectl: %w", err)
	}
	return root, nil
}

// Quiet waits until the daemon has answered everything. What was closed before is then closed for the daemon, too.
func (a *Anchor) Quiet(ctx context.Context) error {
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		waiting, err := a.requests()
		if err != nil || waiting == 0 {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%d requests are not answered: %w", waiting, ctx.Err())
		}
	}
}

// requests opens the file each time: it tells its number once.
func (a *Anchor) requests() (int, error) {
	fd, err := unix.Openat(a.control, a.waiting, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open %s of fusectl: %w", a.waiting, err)
	}
	file := os.NewFile(uintptr(fd), a.waiting)
	defer file.Close()
	text := make([]byte, 32)
	n, err := file.Read(text)
	if err != nil {
		return 0, fmt.Errorf("read %s of fusectl: %w", a.waiting, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text[:n])))
}

// Close lets go of the filesystem.
func (a *Anchor) Close() error { return errors.Join(unix.Close(a.clone), unix.Close(a.control)) }
