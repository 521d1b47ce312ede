// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// fresh is a name below flocker.incoming.
func (d *Driver) fresh() string { return d.incoming() + "/" + rand.Text() }

// freshClone is a name for what is half made of a line. An encrypted clone has its key from its origin, and ZFS lets it be renamed only in
// the filesystem that it is made in.
func (d *Driver) freshClone(of *line) string {
	if of.encrypted {
		return d.parent + "/" + clonePrefix + rand.Text()
	}
	return d.fresh()
}

// hidden says whether a filesystem is half made.
func (d *Driver) hidden(name, origin string) bool {
	clone := strings.HasPrefix(name, d.parent+"/"+clonePrefix) && strings.HasPrefix(origin, d.parent+"/")
	return clone || strings.HasPrefix(name, d.incoming()+"/")
}

// marks are the properties that a line of a dataset is made with, as options of `zfs create` and `zfs clone`.
func (d *Driver) marks(id cluster.DatasetID, head *record, size int64, profile string) ([]string, error) {
	options := []string{
		"-o", "canmount=noauto", "-o", "atime=off",
		"-o", "refquota=" + quota(size), "-o", datasetMark + "=" + string(id),
	}
	options = append(options, d.properties(profile)...)
	if head != nil {
		text, err := head.encode()
		if err != nil {
			return nil, err
		}
		options = append(options, "-o", headMark+"="+text)
	}
	return options, nil
}

// appear gives what was made below flocker.incoming its place, in one step.
func (d *Driver) appear(ctx context.Context, fresh string, id cluster.DatasetID) (string, error) {
	if err := d.letGo(ctx, fresh); err != nil {
		return "", err
	}
	name := d.parent + "/" + d.owner + ".default." + string(id)
	rename := func() error {
		_, err := d.zfs(ctx, "rename", fresh, name)
		return err
	}
	err := patiently(ctx, patience, rename)
	if errors.Is(err, backend.ErrExists) {
		name += "." + rand.Text()
		err = patiently(ctx, patience, rename)
	}
	return name, err
}

// cloneHidden makes a clone of a line's snapshot out of sight. It gets its mount point only then: old versions mount a clone that has one, whatever
// canmount says.
func (d *Driver) cloneHidden(ctx context.Context, l *line, snapshot string, id cluster.DatasetID, head *record, size int64, profile string) (string, error) {
	marks, err := d.marks(id, head, size, profile)
	if err != nil {
		return "", err
	}
	fresh := d.freshClone(l)
	_, err = d.zfs(ctx, slices.Concat([]string{"clone"}, marks, []string{l.at(snapshot), fresh})...)
	if err == nil {
		err = d.setPoint(ctx, fresh, d.usualPoint(id))
	}
	if err != nil {
		return "", errors.Join(err, d.scrap(ctx, fresh))
	}
	return fresh, nil
}

// setPoint sets the mount point of what is not mounted.
func (d *Driver) setPoint(ctx context.Context, name, point string) error {
	relative, err := d.relative(point)
	if err != nil {
		return err
	}
	return d.set(ctx, name, "mountpoint", relative)
}

// branch makes a line of its own of a whole snapshot and all before it, and says its name. What comes after the snapshot stays in
// the old line.
func (d *Driver) branch(ctx context.Context, l *line, snapshot string, head *record, size int64) (string, error) {
	profile := l.profile
	if head != nil {
		profile = head.Profile
	}
	fresh, err := d.cloneHidden(ctx, l, snapshot, l.dataset, head, size, profile)
	if err != nil {
		return "", err
	}
	// It appears before it is promoted: what is hidden may be removed at any time.
	name, err := d.appear(ctx, fresh, l.dataset)
	if err != nil {
		return "", errors.Join(err, d.scrap(ctx, fresh))
	}
	d.know(name, func(s *state) { s.settled = true })
	_, err = d.zfs(ctx, "promote", name)
	return name, err
}

// scrap removes what was half made below flocker.incoming. It goes on when ctx has ended.
func (d *Driver) scrap(ctx context.Context, name string) error {
	ctx = context.WithoutCancel(ctx)
	return patiently(ctx, patience, func() error {
		out, err := d.zfs(ctx, "list", "-H", "-o", "name", "-r", "-t", "snapshot", name)
		if errors.Is(err, backend.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.unmountAll(ctx, name); err != nil {
			return err
		}
		if err := d.letGo(ctx, name); err != nil {
			return err
		}
		for snapshot := range strings.Lines(string(out)) {
			snapshot = strings.TrimSuffix(snapshot, "\n")
			_, of, _ := strings.Cut(snapshot, "@")
			if !strings.HasPrefix(of, ownPrefix) {
				return fmt.Errorf("%w: %s is not ours", backend.ErrBusy, snapshot)
			}
			if err := d.unpin(ctx, snapshot); err != nil {
				return err
			}
			if err := absent(d.zfs(ctx, "destroy", snapshot)); err != nil {
				return err
			}
		}
		return absent(d.zfs(ctx, "destroy", name))
	})
}

// scrapIncoming is scrap for what may have appeared already.
func (d *Driver) scrapIncoming(ctx context.Context, name string) error {
	if !strings.HasPrefix(name, d.incoming()+"/") {
		return nil
	}
	return d.scrap(ctx, name)
}

// absent forgives that something to be removed is not there.
func absent(_ []byte, err error) error {
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	return err
}

// unpin takes Flocker's hold off a snapshot, if it has one.
func (d *Driver) unpin(ctx context.Context, snapshot string) error {
	holds, err := d.number(ctx, "userrefs", snapshot)
	if err != nil || holds == 0 {
		return absent(nil, err)
	}
	return absent(d.zfs(ctx, "release", holdTag, snapshot))
}

// rollback takes a line without a head back to its newest snapshot, which has to be whole: what is after it was half received, or is of
// a head that was dropped.
func (d *Driver) rollback(ctx context.Context, l *line) error {
	last, ok := l.last()
	if !ok || !last.whole {
		return fmt.Errorf("%w: the newest snapshot of %s is not whole", backend.ErrBusy, l.name)
	}
	if err := d.letGo(ctx, l.name); err != nil {
		return err
	}
	return patiently(ctx, patience, func() error {
		_, err := d.zfs(ctx, "rollback", l.at(last.name))
		if errors.Is(err, backend.ErrExists) { // what a rollback makes for a moment, here of a command that has outlived its agent
			return fmt.Errorf("%w: %w", backend.ErrBusy, err)
		}
		return err
	})
}

// retire takes a snapshot out of sight and removes it, once nobody's clone needs it. It keeps its name: old versions unmount the clones of a
// snapshot to rename it.
func (d *Driver) retire(ctx context.Context, l *line, s snapshot) error {
	if err := d.disown(ctx, l, s); err != nil {
		return err
	}
	return d.expire(ctx, l.at(s.name))
}

// disown marks a snapshot as deleted and lets go of it.
func (d *Driver) disown(ctx context.Context, l *line, s snapshot) error {
	if s.whole {
		if err := d.set(ctx, l.at(s.name), goneMark, "on"); err != nil {
			return err
		}
	}
	return d.unpin(ctx, l.at(s.name))
}

// expire removes a snapshot of ours when nothing needs it any more.
func (d *Driver) expire(ctx context.Context, snapshot string) error {
	return absent(d.zfs(ctx, "destroy", "-d", snapshot))
}
