// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// held is a head that is mounted on no path yet.
type held struct {
	fs     *mount.Detached
	device string
	fstype string
}

// place is a mounted head.
type place struct {
	device string
	fstype string
	root   *os.File
}

// Mount puts the head on a path.
func (d *Driver) Mount(ctx context.Context, id cluster.DatasetID, path string) error {
	v, device, err := d.device(ctx, id)
	if err == nil {
		_, err = d.listing.find(ctx, id) // of several volumes none is mounted
	}
	if err != nil {
		return err
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	on, err := mountsIn(table, id, device)
	if err != nil {
		return err
	}
	if at, mounted := mount.At(table, path); mounted {
		if _, is := mount.At(on, path); is {
			return nil
		}
		return fmt.Errorf("%w: %s is mounted on %s", backend.ErrBusy, at.Source, path)
	}
	if len(on) > 0 {
		return fmt.Errorf("%w: %s of volume %s is mounted on %s", backend.ErrBusy, device, v.ID, on[0].Point)
	}
	h, err := d.hold(ctx, id, device)
	if err != nil {
		return err
	}
	if err := errors.Join(mount.MakePoint(path), h.fs.MoveTo(path)); err != nil {
		return errors.Join(err, d.let(id))
	}
	return d.let(id)
}

// Unmount undoes every mount of the device in this mount namespace.
func (d *Driver) Unmount(ctx context.Context, id cluster.DatasetID) error {
	_, on, err := d.mounts(ctx, id)
	if err != nil {
		return err
	}
	for _, m := range on {
		if err := d.unmount(ctx, m); err != nil {
			return err
		}
	}
	return d.let(id)
}

// A mount is in use for a moment while its space is looked at.
const (
	glances = 20
	glance  = 2 * time.Millisecond
)

func (d *Driver) unmount(ctx context.Context, m mount.Entry) error {
	for try := 1; ; try++ {
		err := mount.Unmount(m.Point)
		if !errors.Is(err, mount.ErrBusy) {
			return err
		}
		who, err := d.users(ctx, m)
		if err != nil || who != "" || try == glances {
			return errors.Join(fmt.Errorf("unmount %s: %w%s", m.Point, backend.ErrBusy, who), err)
		}
		if err := pause(ctx, glance); err != nil {
			return err
		}
	}
}

// Flush writes out what is in memory of the filesystem, where it is mounted.
func (d *Driver) Flush(ctx context.Context, id cluster.DatasetID) error {
	_, on, err := d.mounts(ctx, id)
	if err != nil || len(on) == 0 {
		return err
	}
	f, err := os.OpenFile(on[0].Point, unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("flush the head: %w", err)
	}
	if err := errors.Join(unix.Syncfs(int(f.Fd())), f.Close()); err != nil {
		return fmt.Errorf("flush %s: %w", on[0].Point, err)
	}
	return nil
}

// Released is shown by an exclusive open of the device: no mount namespace has it mounted, so that no file of it is open
// or mapped anywhere, and nothing else in the kernel has laid claim to it.
func (d *Driver) Released(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	device, on, err := d.mounts(ctx, id)
	switch {
	case err != nil:
		return err
	case len(on) > 0:
		return fmt.Errorf("%w: %s is mounted on %s", backend.ErrBusy, on[0].Source, on[0].Point)
	case device == "" && snapshot != "":
		return fmt.Errorf("compare with snapshot %s: %w", snapshot, backend.ErrNotAttached)
	case device == "":
		return nil
	}
	if err := d.unused(ctx, id, device); err != nil || snapshot == "" {
		return err
	}
	return d.unchanged(ctx, id, device, snapshot)
}

// mounts are those of a dataset's device in this mount namespace. Without a device there may be some of one that went
// away: that does not unmount it.
func (d *Driver) mounts(ctx context.Context, id cluster.DatasetID) (device string, on []mount.Entry, err error) {
	_, device, err = d.device(ctx, id)
	if err != nil && !errors.Is(err, backend.ErrNotFound) && !errors.Is(err, backend.ErrNotAttached) {
		return "", nil, err
	}
	table, err := mount.Table()
	if err != nil {
		return "", nil, err
	}
	on, err = mountsIn(table, id, device)
	return device, on, err
}

func mountsIn(table []mount.Entry, id cluster.DatasetID, device string) ([]mount.Entry, error) {
	if device != "" {
		return mount.Of(table, device)
	}
	var dead []mount.Entry
	for _, e := range table {
		if filepath.Base(e.Point) != string(id) || !slices.Contains(mount.Formats(), e.Type) {
			continue
		}
		if on, err := mount.Of([]mount.Entry{e}, e.Source); err != nil || len(on) == 0 {
			dead = append(dead, e)
		}
	}
	return dead, nil
}

// within lets f work on the root of an attached head, which is held afterwards where it is mounted on no path. A head that
// f refuses is let go.
func (d *Driver) within(ctx context.Context, id cluster.DatasetID, f func(place) error) error {
	_, device, err := d.device(ctx, id)
	if err != nil {
		return err
	}
	at, err := d.open(ctx, id, device)
	if err != nil {
		return err
	}
	if err := errors.Join(f(at), at.root.Close()); err != nil {
		return errors.Join(err, d.let(id))
	}
	return nil
}

// open opens the root of a head wherever it is mounted, else holds it.
func (d *Driver) open(ctx context.Context, id cluster.DatasetID, device string) (at place, err error) {
	on, err := mountsOf(id, device)
	if err != nil {
		return at, err
	}
	for _, m := range on {
		if m.Root != "/" {
			continue
		}
		root, err := os.OpenFile(m.Point, unix.O_DIRECTORY, 0)
		if err != nil {
			return at, fmt.Errorf("open the head: %w", err)
		}
		return place{device, m.Type, root}, nil
	}
	h, err := d.hold(ctx, id, device)
	if err != nil {
		return at, err
	}
	root, err := h.fs.Root()
	return place{device, h.fstype, root}, err
}

// hold mounts a head on no path, after a look at whose it is.
func (d *Driver) hold(ctx context.Context, id cluster.DatasetID, device string) (*held, error) {
	d.mu.Lock()
	h := d.held[id]
	d.mu.Unlock()
	if h != nil && h.device == device {
		return h, nil
	}
	if err := d.let(id); err != nil {
		return nil, err
	}
	h, err := d.openHead(ctx, device, id)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.held[id] = h
	d.mu.Unlock()
	return h, nil
}

// let lets go of what is held, which unmounts it where it is on no path.
func (d *Driver) let(id cluster.DatasetID) error {
	d.mu.Lock()
	h := d.held[id]
	delete(d.held, id)
	d.mu.Unlock()
	if h == nil {
		return nil
	}
	return h.fs.Close()
}

// users names those who have a mounted filesystem in use: " by" and who, or nothing.
func (d *Driver) users(ctx context.Context, m mount.Entry) (string, error) {
	target := mount.Target{Place: mount.Place{Dev: m.Dev}, Dev: m.Dev} // all of it, wherever it is mounted
	var st unix.Stat_t
	if m.Point != "" && unix.Stat(m.Point, &st) == nil {
		target.Dev = st.Dev // btrfs tells another one of files
	}
	found, err := mount.Users(ctx, target)
	if err != nil {
		return "", err
	}
	var who []string
	for _, u := range found {
		if u.How != "a mount at "+m.Point {
			who = append(who, u.String())
		}
	}
	if len(who) == 0 {
		return "", nil
	}
	return " by " + strings.Join(who, ", "), nil
}

func mountsOf(id cluster.DatasetID, device string) ([]mount.Entry, error) {
	table, err := mount.Table()
	if err != nil {
		return nil, err
	}
	return mountsIn(table, id, device)
}
