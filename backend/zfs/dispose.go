// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Destroy takes each line out of sight in one step before it removes it.
func (d *Driver) Destroy(ctx context.Context, id cluster.DatasetID) error {
	t, err := d.read(ctx)
	if err != nil {
		return err
	}
	ls := t.of(id)
	for _, l := range ls {
		if err := d.removable(ctx, l); err != nil {
			return err
		}
	}
	if err := d.dropPartials(ctx, t, id); err != nil || len(ls) == 0 {
		return err
	}
	return d.dispose(ctx, ls)
}

// removable says what keeps a line from being removed: who uses it, and what in it or made of it is somebody else's.
func (d *Driver) removable(ctx context.Context, l *line) error {
	if err := d.unused(ctx, l); err != nil {
		return err
	}
	for _, s := range l.snapshots {
		if !s.ours() {
			return fmt.Errorf("%w: snapshot %s is not Flocker's", backend.ErrBusy, l.at(s.name))
		}
		if s.holds > 1 {
			return fmt.Errorf("%w: snapshot %s is held by another (zfs holds)", backend.ErrBusy, l.at(s.name))
		}
	}
	pool, _, _ := strings.Cut(d.parent, "/")
	out, err := d.zfs(ctx, "list", "-H", "-o", "name,origin", "-r", "-t", "filesystem,volume", pool)
	if err != nil {
		return err
	}
	t, err := d.read(ctx)
	if err != nil {
		return err
	}
	for text := range strings.Lines(string(out)) {
		name, origin, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\t")
		ours := slices.ContainsFunc(t.lines, func(l *line) bool { return l.name == name })
		if strings.HasPrefix(origin, l.name+"@") && !ours && !d.hidden(name, origin) {
			return fmt.Errorf("%w: %s is a clone of %s and not Flocker's", backend.ErrBusy, name, origin)
		}
		if strings.HasPrefix(name, l.name+"/") {
			return fmt.Errorf("%w: %s is in it and not Flocker's", backend.ErrBusy, name)
		}
	}
	return nil
}

// dispose removes lines. Clones of other datasets first take over what they need.
func (d *Driver) dispose(ctx context.Context, ls lines) error {
	for _, l := range ls {
		if err := d.set(ctx, l.name, endingMark, endingWhole); err != nil {
			return err
		}
	}
	for {
		t, err := d.read(ctx)
		if err != nil {
			return err
		}
		if again, err := d.disposeOne(ctx, t); err != nil || !again {
			return err
		}
	}
}

// disposeOne does one step towards a pool in which no line is ending as a whole.
func (d *Driver) disposeOne(ctx context.Context, t *tree) (again bool, err error) {
	for _, l := range t.lines {
		if l.ending != endingWhole {
			continue
		}
		again = true
		clone := t.newestCloneOf(l)
		if clone == nil {
			return true, d.remove(ctx, l)
		}
		if clone.ending == endingWhole {
			continue // it goes first
		}
		return true, d.bequeath(ctx, l, clone)
	}
	if again {
		return true, fmt.Errorf("%w: lines of %s are clones of each other", backend.ErrBusy, d.parent)
	}
	return false, d.sweep(ctx, t)
}

// newestCloneOf is the clone of the line's newest snapshot that has any.
func (t *tree) newestCloneOf(l *line) *line {
	for _, s := range slices.Backward(l.snapshots) {
		for _, clone := range t.lines {
			if clone.origin == l.at(s.name) {
				return clone
			}
		}
	}
	return nil
}

// bequeath lets a clone of another dataset take over what it needs of a line. Where it has snapshots of the same names, they are renamed
// first, for which old versions unmount the clone: that is ErrBusy while it is in use.
func (d *Driver) bequeath(ctx context.Context, l, clone *line) error {
	for _, s := range l.snapshots {
		if err := d.disown(ctx, l, s); err != nil {
			return err
		}
	}
	_, err := d.zfs(ctx, "promote", clone.name)
	if !errors.Is(err, backend.ErrExists) {
		return err
	}
	for _, s := range l.snapshots {
		if _, taken := clone.find(s.name); !taken {
			continue
		}
		if _, err := d.zfs(ctx, "rename", l.at(s.name), l.at(ownPrefix+"gone."+s.id())); err != nil {
			return err
		}
	}
	_, err = d.zfs(ctx, "promote", clone.name)
	return err
}

// remove removes a line that nothing depends on.
func (d *Driver) remove(ctx context.Context, l *line) error {
	if err := d.letGo(ctx, l.name); err != nil {
		return err
	}
	for _, s := range l.snapshots {
		if err := d.unpin(ctx, l.at(s.name)); err != nil {
			return err
		}
		if err := absent(d.zfs(ctx, "destroy", l.at(s.name))); err != nil {
			return err
		}
	}
	err := patiently(ctx, patience, func() error { return absent(d.zfs(ctx, "destroy", l.name)) })
	if err == nil {
		d.forget(l.name)
	}
	return err
}

// sweep removes the snapshots that lost their names and that no clone needs any more.
func (d *Driver) sweep(ctx context.Context, t *tree) error {
	var errs []error
	for _, l := range t.lines {
		for _, s := range l.snapshots {
			if (s.gone || strings.HasPrefix(s.name, ownPrefix+"gone.")) && s.holds == 0 {
				errs = append(errs, d.expire(ctx, l.at(s.name)))
			}
		}
	}
	return errors.Join(errs...)
}
