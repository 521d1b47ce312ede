// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Clone lets the store make a volume of another's snapshot, attaches it, and makes the filesystem on it the new dataset's.
func (d *Driver) Clone(ctx context.Context, from cluster.DatasetID, snapshot string, spec backend.Spec, scratch cluster.MoveID) error {
	store, err := d.keeper(ctx)
	switch {
	case err != nil:
		return err
	case scratch != "" || from == spec.Dataset:
		return fmt.Errorf("clone of the dataset itself: %w: its one copy is the head", backend.ErrUnsupported)
	}
	origin, err := d.listing.find(ctx, from)
	if err == nil {
		err = d.listing.mayMake(ctx, spec.Dataset)
	}
	if err != nil {
		return err
	}
	v, device, c, err := d.branch(ctx, store, origin, snapshot, spec)
	if err != nil {
		return err
	}
	if c.state == adopting { // what was half done is not told from what was not: it is made anew
		if err := d.discard(ctx, v); err != nil {
			return err
		}
		if v, device, c, err = d.branch(ctx, store, origin, snapshot, spec); err != nil {
			return err
		}
	}
	switch {
	case c.state == whole:
		return fmt.Errorf("volume %s: %w: it is dataset %s's already", v.ID, backend.ErrExists, spec.Dataset)
	case c.mark.dataset != "" || c.fs.UUID != string(from):
		return fmt.Errorf("volume %s: %w: it carries no head of dataset %s", v.ID, backend.ErrChanged, from)
	}
	if err := d.adopt(ctx, device, c, from, spec); err != nil {
		return fmt.Errorf("volume %s: %w", v.ID, err)
	}
	d.note(spec.Dataset, head{device: device, epoch: spec.Epoch})
	return nil
}

// branch makes the store's clone and looks at what is on it.
func (d *Driver) branch(ctx context.Context, store backend.VolumeSnapshotter, origin backend.Volume, snapshot string, spec backend.Spec) (
	v backend.Volume, device string, c content, err error,
) {
	if v, err = store.CloneVolume(ctx, origin, snapshot, spec); err != nil {
		return v, "", c, err
	}
	d.listing.put(v)
	if device, err = d.attach(ctx, v); err != nil {
		return v, "", c, err
	}
	if mounted, err := mountsOf(spec.Dataset, device); err != nil || len(mounted) > 0 {
		return v, device, content{state: whole}, err // a head that is mounted is whole
	}
	if err := d.let(spec.Dataset); err != nil {
		return v, "", c, err
	}
	f, err := d.claim(ctx, device)
	if err != nil {
		return v, "", c, err
	}
	defer f.Close()
	if c, err = lookAt(f, spec.Dataset); errors.Is(err, backend.ErrExists) {
		err = nil // the origin's; what it is of is in the content
	}
	return v, device, c, err
}

// discard removes a clone that nobody has used.
func (d *Driver) discard(ctx context.Context, v backend.Volume) error {
	d.config.Log.InfoContext(ctx, "a clone that was interrupted is made anew", "dataset", v.Dataset, "volume", v.ID)
	v.Machine = d.machine
	if err := d.detach(ctx, v); err != nil {
		return err
	}
	if err := d.store.Destroy(ctx, v); err != nil {
		return err
	}
	d.listing.drop(v.Dataset)
	return nil
}

// adopt makes the filesystem of one dataset another's. The mark is on the device from before the first write to after the last; a clone
// that is found with it is thrown away, since nobody has used it and the snapshot is still there.
func (d *Driver) adopt(ctx context.Context, device string, c content, from cluster.DatasetID, spec backend.Spec) error {
	d.config.Log.InfoContext(ctx, "making a clone a dataset's own", "dataset", spec.Dataset, "of", from, "device", device, "filesystem", c.fs.Type)
	m := mark{dataset: spec.Dataset, filesystem: c.fs.Type, epoch: spec.Epoch, clone: true}
	if err := d.writing(ctx, device, func(f *os.File) error { return m.write(f, body(c.size)) }); err != nil {
		return err
	}
	if err := replay(device, c.fs.Type, from); err != nil {
		return err
	}
	if err := mount.SetIdentity(ctx, device, c.fs.Type, string(spec.Dataset)); err != nil {
		return err
	}
	if err := rename(device, c.fs.Type, record{Dataset: spec.Dataset, Epoch: spec.Epoch}); err != nil {
		return err
	}
	return d.writing(ctx, device, func(f *os.File) error { return erase(f, body(c.size)) })
}

// replay mounts a clone once, which brings its journal to an end: programs that change what a filesystem is refuse one with a journal. It
// has the UUID of its origin, which may be mounted here.
func replay(device, fstype string, from cluster.DatasetID) error {
	flags := options(fstype)
	if fstype == "xfs" {
		flags = maps.Clone(flags)
		if flags == nil {
			flags = map[string]string{}
		}
		flags["nouuid"] = ""
	}
	return onRoot(device, fstype, flags, func(root *os.File) error {
		_, err := readRecord(descriptor(root), from)
		return err
	})
}

// rename writes whose head it is.
func rename(device, fstype string, r record) error {
	return onRoot(device, fstype, options(fstype), func(root *os.File) error { return writeRecord(root, r) })
}

// onRoot mounts a filesystem on no path for as long as f works on its root, and flushes it.
func onRoot(device, fstype string, flags map[string]string, f func(root *os.File) error) error {
	fs, err := mount.OpenDevice(device, fstype, flags)
	if err != nil {
		return err
	}
	root, err := fs.Root()
	if err != nil {
		return errors.Join(err, fs.Close())
	}
	err = f(root)
	if err == nil {
		err = unix.Syncfs(int(root.Fd()))
	}
	if err := errors.Join(err, root.Close(), fs.Close()); err != nil {
		return fmt.Errorf("make the head on %s: %w", device, err)
	}
	return nil
}
