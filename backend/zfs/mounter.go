// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Mount mounts the head on path. A mount whose daemon has died is undone first.
func (d *Driver) Mount(ctx context.Context, id cluster.DatasetID, path string) error {
	head, err := d.headOf(ctx, id)
	if err != nil {
		return err
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	if on, taken := mount.At(table, path); taken {
		if !ofLine(on, head.name) {
			return fmt.Errorf("%w: %s is mounted on %s", backend.ErrBusy, on.Source, path)
		}
		if dead, err := d.dead(ctx, head.name, path); err != nil || !dead {
			return err
		}
		if err := d.unmount(ctx, on, head.name); err != nil {
			return err
		}
	}
	if head.mountpoint != path {
		if err := d.setPoint(ctx, head.name, path); err != nil {
			return err
		}
	}
	if err := d.mountAt(ctx, head.name, path, false); err != nil {
		return err
	}
	d.know(head.name, func(s *state) { s.settled = true })
	return nil
}

// mountAt mounts a filesystem on its mount point, and sees that it is there: with zfs-fuse the daemon does it, wherever that runs. It may
// still be busy with an earlier unmount.
func (d *Driver) mountAt(ctx context.Context, name, point string, readOnly bool) error {
	if err := d.letGo(ctx, name); err != nil {
		return err
	}
	if err := mount.MakePoint(point); err != nil {
		return err
	}
	args := []string{"mount", name}
	if readOnly {
		args = []string{"mount", "-o", "ro", name}
	}
	err := patiently(ctx, patience, func() error {
		_, err := d.zfs(ctx, args...)
		return err
	})
	if err != nil {
		return err
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	on, ok := mount.At(table, point)
	if !ok || on.Source != name {
		return fmt.Errorf("%w: %s was mounted, but not on %s in this mount namespace: zfs-fuse has to run in the agent's", backend.ErrUnsupported, name, point)
	}
	d.noteNumber(name, on.Dev)
	return nil
}

// Unmount undoes every mount of the head in this mount namespace.
func (d *Driver) Unmount(ctx context.Context, id cluster.DatasetID) error {
	ls, err := d.look(ctx, id)
	if err != nil {
		return err
	}
	for _, l := range ls {
		err := d.unmountAll(ctx, l.name)
		if errors.Is(err, backend.ErrBusy) {
			return errors.Join(err, backend.Unused(ctx, d.target(l.name)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unmountAll undoes the mounts of a whole filesystem, the latest first.
func (d *Driver) unmountAll(ctx context.Context, name string) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(table) {
		if !ofLine(e, name) {
			continue
		}
		if err := d.unmount(ctx, e, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) unmount(ctx context.Context, e mount.Entry, name string) error {
	dead, err := d.dead(ctx, name, e.Point)
	if err != nil {
		return err
	}
	if d.can.fuse && !dead {
		return d.weigh(ctx, e, name)
	}
	d.know(name, func(s *state) { s.dev, s.settled = e.Dev, !dead })
	return busy(mount.Unmount(e.Point))
}

// busy gives the contract's name to what the mount package says.
func busy(err error) error {
	if errors.Is(err, mount.ErrBusy) {
		return fmt.Errorf("%w: %w", backend.ErrBusy, err)
	}
	return err
}

// target is a line for the search for its users, by name and by the device number of its last mount.
func (d *Driver) target(name string) mount.Target {
	dev := d.known(name).dev
	return mount.Target{Source: name, Place: mount.Place{Dev: dev, Root: "/"}, Dev: dev}
}

// Released looks at every process, and then at the head.
func (d *Driver) Released(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	ls, err := d.look(ctx, id)
	if err != nil {
		return err
	}
	for _, l := range ls {
		if err := d.unused(ctx, l); err != nil {
			return err
		}
	}
	if snapshot == "" {
		return nil
	}
	of, _, ok := ls.find(snapshot)
	if !ok {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	head := ls.head()
	if head == nil {
		return nil // without a head there is nothing to write to
	}
	if of != head && head.origin != of.at(snapshot) {
		return fmt.Errorf("%w %s: the head is not of it", backend.ErrChanged, snapshot)
	}
	return d.unchanged(ctx, head, of.at(snapshot))
}

// unused is ErrBusy where anybody can reach a line: by a mount in any namespace, or, of a head, by anything at all.
func (d *Driver) unused(ctx context.Context, l *line) error {
	if err := backend.Unused(ctx, mount.Target{Source: l.name}); err != nil || l.head == nil {
		return err
	}
	if err := d.letGo(ctx, l.name); err != nil {
		return errors.Join(err, backend.Unused(ctx, d.target(l.name)))
	}
	if known := d.known(l.name); d.can.fuse && known.settled {
		return nil // nobody else mounts it, and the daemon does not have it
	}
	return d.settle(ctx, l)
}

// settle mounts an unmounted head for a moment. What a crash left in its log is then in the data. It is ErrBusy where somebody
// still has it. The kernel's ZFS is asked for a read-only mount, which it refuses where the filesystem lives on as it was mounted
// before; with zfs-fuse, filesystems that were mounted read-only can now and then not be destroyed any more, and a second mount of any kind is refused.
func (d *Driver) settle(ctx context.Context, l *line) error {
	d.know(l.name, func(s *state) { s.probing = true })
	defer d.know(l.name, func(s *state) { s.probing = false })
	point := l.mountpoint
	if point == "" {
		point = d.usualPoint(l.dataset)
		if err := d.setPoint(ctx, l.name, point); err != nil {
			return err
		}
	}
	if err := d.mountAt(ctx, l.name, point, !d.can.fuse); err != nil {
		return err
	}
	return patiently(ctx, patience, func() error { return d.unmountAll(ctx, l.name) })
}
