// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Snapshot takes a snapshot that holds everything written before, on disk when it returns.
func (d *Driver) Snapshot(ctx context.Context, id cluster.DatasetID, lineage backend.Lineage) (cluster.Snapshot, error) {
	name := lineage.Name()
	ls, err := d.look(ctx, id)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	if _, s, ok := ls.find(name); ok {
		return s.describe(), nil
	}
	head := ls.head()
	if head == nil {
		return cluster.Snapshot{}, fmt.Errorf("head: %w", backend.ErrNotFound)
	}
	if err := d.flush(ctx, head); err != nil {
		return cluster.Snapshot{}, err
	}
	if err := d.take(ctx, head, name); err != nil {
		return cluster.Snapshot{}, err
	}
	if err := d.pin(ctx, head.at(name)); err != nil {
		return cluster.Snapshot{}, err
	}
	return d.describeSnapshot(ctx, id, name)
}

func (d *Driver) take(ctx context.Context, l *line, name string) error {
	_, err := d.zfs(ctx, "snapshot", l.at(name))
	return err
}

// pin keeps a snapshot from being destroyed by anyone who does not take Flocker's hold off first.
func (d *Driver) pin(ctx context.Context, snapshot string) error {
	_, err := d.zfs(ctx, "hold", holdTag, snapshot)
	return err
}

func (d *Driver) describeSnapshot(ctx context.Context, id cluster.DatasetID, name string) (cluster.Snapshot, error) {
	ls, err := d.look(ctx, id)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	_, s, ok := ls.find(name)
	if !ok {
		return cluster.Snapshot{}, fmt.Errorf("snapshot %s: %w", name, backend.ErrNotFound)
	}
	return s.describe(), nil
}

// flush brings to the pool what the kernel has of a mounted head, and what the log has of another.
func (d *Driver) flush(ctx context.Context, head *line) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	at, on := mounted(table, head)
	dead := false
	if on {
		if dead, err = d.dead(ctx, head.name, at.Point); err != nil {
			return err
		}
	}
	if on && !dead {
		fd, err := unix.Open(at.Point, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", at.Point, err)
		}
		defer unix.Close(fd)
		if err := unix.Syncfs(fd); err != nil {
			return fmt.Errorf("write out %s: %w", at.Point, err)
		}
		return nil
	}
	if on {
		if err := d.unmountAll(ctx, head.name); err != nil {
			return err
		}
	}
	if d.known(head.name).settled {
		return nil
	}
	if err := d.settle(ctx, head); !errors.Is(err, backend.ErrBusy) {
		return err
	}
	return nil // who has it has mounted it, and the log was replayed then
}

// DeleteSnapshot removes a snapshot; what a clone needs of it stays until that goes.
func (d *Driver) DeleteSnapshot(ctx context.Context, id cluster.DatasetID, name string) error {
	ls, err := d.look(ctx, id)
	if err != nil {
		return err
	}
	l, s, ok := ls.find(name)
	if !ok {
		return nil
	}
	if err := d.retire(ctx, l, s); err != nil {
		return err
	}
	if l.head != nil {
		return nil
	}
	for _, other := range l.snapshots {
		if other.whole && other.name != name || !other.ours() {
			return nil
		}
	}
	return d.dispose(ctx, lines{l}) // nothing is left of it
}

// Clone makes a head of a snapshot.
func (d *Driver) Clone(ctx context.Context, from cluster.DatasetID, snapshot string, spec backend.Spec, scratch cluster.MoveID) error {
	t, err := d.read(ctx)
	if err != nil {
		return err
	}
	if t.of(spec.Dataset).head() != nil {
		return fmt.Errorf("head: %w", backend.ErrExists)
	}
	lineage, err := backend.ParseLineage(snapshot)
	if err != nil {
		return err
	}
	if from == spec.Dataset && spec.Epoch < lineage.Epoch {
		return fmt.Errorf("epoch %d is older than snapshot %s: %w", spec.Epoch, snapshot, backend.ErrChanged)
	}
	l, _, ok := t.of(from).find(snapshot)
	if !ok {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	head := recordOf(spec, scratch)
	switch {
	case from != spec.Dataset:
		return d.cloneOther(ctx, l, snapshot, spec, head)
	case l.rests(snapshot) && d.claim(l.name):
		defer d.unclaim(l.name)
		return d.cloneInPlace(ctx, l, spec.Size, head)
	}
	_, err = d.branch(ctx, l, snapshot, &head, spec.Size)
	return err
}

// cloneInPlace makes the line the head. This is inside the gap of a move.
func (d *Driver) cloneInPlace(ctx context.Context, l *line, size int64, head record) error {
	if l.refquota != size {
		if err := d.set(ctx, l.name, "refquota", quota(size)); err != nil {
			return err
		}
	}
	if l.profile != head.Profile { // it was received when this node did not know the profile, or before there were any
		if err := d.setProfile(ctx, l.name, head.Profile); err != nil {
			return err
		}
	}
	d.know(l.name, func(s *state) { s.settled = true })
	return d.writeRecord(ctx, l.name, head)
}

func (d *Driver) cloneOther(ctx context.Context, l *line, snapshot string, spec backend.Spec, head record) error {
	fresh, err := d.cloneHidden(ctx, l, snapshot, spec.Dataset, &head, spec.Size, spec.Profile)
	if err != nil {
		return err
	}
	name, err := d.appear(ctx, fresh, spec.Dataset)
	if err != nil {
		return errors.Join(err, d.scrap(ctx, fresh))
	}
	d.know(name, func(s *state) { s.settled = true })
	return nil
}

// DropHead removes the head when nobody can reach it.
func (d *Driver) DropHead(ctx context.Context, id cluster.DatasetID) error {
	ls, err := d.lookEnded(ctx, id)
	if err != nil {
		return err
	}
	head := ls.head()
	if head == nil {
		return nil
	}
	if err := d.removable(ctx, head); err != nil {
		return err
	}
	if err := d.set(ctx, head.name, endingMark, endingHead); err != nil {
		return err
	}
	head.ending = endingHead
	return d.dropHead(ctx, head)
}

// dropHead finishes what DropHead has begun.
func (d *Driver) dropHead(ctx context.Context, l *line) error {
	newest, ok := l.newest()
	if !ok {
		return d.dispose(ctx, lines{l})
	}
	if last, _ := l.last(); !last.whole {
		// It is only there for a clone of another dataset, and stays with that.
		if _, err := d.branch(ctx, l, newest.name, nil, 0); err != nil {
			return err
		}
		return d.dispose(ctx, lines{l})
	}
	if err := d.set(ctx, l.name, "refquota", "none"); err != nil {
		return err
	}
	if err := d.rollback(ctx, l); err != nil {
		return err
	}
	if err := d.unset(ctx, l.name, headMark); err != nil {
		return err
	}
	return d.unset(ctx, l.name, endingMark)
}

// claim takes a line for what must be alone with it: a receive, or becoming the head.
func (d *Driver) claim(name string) (ok bool) {
	d.know(name, func(s *state) { ok, s.receiving = !s.receiving, true })
	return ok
}

func (d *Driver) unclaim(name string) { d.know(name, func(s *state) { s.receiving = false }) }
