// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// weigh unmounts a filesystem of zfs-fuse without letting it end, which it may only when nobody has it and the daemon has heard of every
// file that was closed. Where that is not so yet, letGo sees to it.
func (d *Driver) weigh(ctx context.Context, e mount.Entry, name string) error {
	anchor, err := mount.NewAnchor(e.Point, e.Dev)
	if err != nil {
		return err
	}
	if err := mount.Unmount(e.Point); err != nil {
		return errors.Join(busy(err), anchor.Close())
	}
	var old *mount.Anchor
	d.know(name, func(s *state) {
		s.dev, s.settled = e.Dev, true
		old, s.anchor = s.anchor, anchor
	})
	if old != nil { // of another mount of the same filesystem
		err = old.Close()
	}
	if users, usersErr := mount.Users(ctx, d.target(name)); usersErr != nil || len(users) > 0 {
		return errors.Join(err, usersErr)
	}
	return errors.Join(err, d.end(ctx, name, anchor))
}

// unanchor lets a filesystem end that was unmounted, unless somebody has it.
func (d *Driver) unanchor(ctx context.Context, name string) error {
	anchor := d.known(name).anchor
	if anchor == nil {
		return nil
	}
	if err := backend.Unused(ctx, d.target(name)); err != nil {
		return err
	}
	return d.end(ctx, name, anchor)
}

func (d *Driver) end(ctx context.Context, name string, anchor *mount.Anchor) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := anchor.Quiet(ctx); err != nil {
		return fmt.Errorf("unmounted %s: %w: %w: %w", name, backend.ErrBusy, errSilent, err)
	}
	d.know(name, func(s *state) { s.anchor = nil })
	return anchor.Close()
}

// errSilent says that nobody answers where zfs-fuse or the kernel should.
var errSilent = errors.New("ZFS does not answer; where it is zfs-fuse, it may hang, and only ending it helps")

// question is one to the daemon of a filesystem. There is one at a time: where none is answered, each keeps a thread.
type question struct {
	answered chan struct{}
	answer   error
}

// dead says that the daemon behind a mount is gone.
func (d *Driver) dead(ctx context.Context, name, point string) (bool, error) {
	var q *question
	d.know(name, func(s *state) {
		if s.asked == nil {
			s.asked = &question{answered: make(chan struct{})}
			go d.ask(name, point, s.asked)
		}
		q = s.asked
	})
	timer := time.NewTimer(d.limit)
	defer timer.Stop()
	select {
	case <-q.answered:
		return errors.Is(q.answer, unix.ENOTCONN), nil
	case <-ctx.Done():
		return false, fmt.Errorf("%s: %w: %w", point, errSilent, ctx.Err())
	case <-timer.C:
		return false, fmt.Errorf("%s: %w", point, errSilent)
	}
}

func (d *Driver) ask(name, point string, q *question) {
	var fs unix.Statfs_t
	q.answer = unix.Statfs(point, &fs)
	d.know(name, func(s *state) {
		if s.asked == q {
			s.asked = nil
		}
	})
	close(q.answered)
}
