// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Create makes the head under another name, and renames it when it is whole.
func (d *Driver) Create(ctx context.Context, spec backend.Spec) error {
	volume, head := d.volume(spec.Dataset), d.head(spec.Dataset)
	if err := d.free(spec); !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	return d.withRoom(func() error { return d.create(ctx, spec, volume, head) })
}

func (d *Driver) create(ctx context.Context, spec backend.Spec, volume, head string) error {
	if err := d.makeVolume(spec.Dataset); err != nil {
		return err
	}
	fresh := filepath.Join(volume, newName)
	if err := deleteSubvolume(ctx, fresh); err != nil {
		return err
	}
	if err := createSubvolume(fresh); err != nil {
		return err
	}
	if err := d.setProfile(fresh, spec.Profile); err != nil { // before there is anything that could inherit it
		return err
	}
	if err := backend.MakeData(fresh, spec.Root); err != nil {
		return sentinel(err)
	}
	if err := setDataset(fresh, spec.Dataset); err != nil {
		return err
	}
	return d.finishHead(fresh, head, spec, "")
}

// finishHead makes a prepared subvolume the head.
func (d *Driver) finishHead(fresh, head string, spec backend.Spec, scratch cluster.MoveID) error {
	if err := d.limit(fresh, spec.Size); err != nil {
		return err
	}
	if err := writeRecord(filepath.Dir(head), recordOf(spec, scratch)); err != nil {
		return err
	}
	if err := os.Rename(fresh, head); err != nil {
		return fmt.Errorf("make the head: %w", sentinel(err))
	}
	return commit(filepath.Dir(head))
}

// free is ErrNotFound where nothing is in the way of a new head.
func (d *Driver) free(spec backend.Spec) error {
	c, err := d.look(spec.Dataset)
	switch {
	case err != nil:
		return err
	case c.Head && c.Size == spec.Size:
		return nil
	case c.Head:
		return fmt.Errorf("%w: with a size of %d bytes, not %d", backend.ErrExists, c.Size, spec.Size)
	case len(c.Snapshots) > 0:
		return fmt.Errorf("%w: as %d snapshots without a head", backend.ErrExists, len(c.Snapshots))
	}
	return backend.ErrNotFound
}

// Destroy first moves the volume out of sight in one step, so that half of it is never seen.
func (d *Driver) Destroy(ctx context.Context, id cluster.DatasetID) error {
	volume := d.volume(id)
	if _, err := os.Lstat(volume); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := d.unused(ctx, id); err != nil {
		return err
	}
	trash := d.dir(trashDir, string(id)+"."+rand.Text())
	err := d.withRoom(func() error { return sentinel(os.Rename(volume, trash)) })
	if errors.Is(err, backend.ErrNoSpace) {
		trash, err = volume, nil // deleting needs no room
	}
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	if err := d.deleteTree(ctx, trash); err != nil {
		return err
	}
	return commit(d.root)
}

func (d *Driver) makeVolume(id cluster.DatasetID) error {
	if err := os.Mkdir(d.volume(id), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the volume: %w", sentinel(err))
	}
	return nil
}

// deleteTree removes a folder of the pool with the subvolumes directly in it.
func (d *Driver) deleteTree(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("delete %s: %w", dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		subvolume, err := isSubvolume(path)
		if err != nil {
			return err
		}
		if subvolume {
			err = deleteSubvolume(ctx, path)
		} else {
			err = os.RemoveAll(path)
		}
		if err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("delete %s: %w", dir, err)
	}
	return nil
}

// SetEpoch writes the record when it differs.
func (d *Driver) SetEpoch(_ context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	r, err := d.headRecord(id)
	if err != nil {
		return err
	}
	if epoch < r.Epoch {
		return fmt.Errorf("epoch %d is older than %d on the data: %w", epoch, r.Epoch, backend.ErrChanged)
	}
	if epoch == r.Epoch && scratch == r.Scratch {
		return nil
	}
	r.Epoch, r.Scratch = epoch, scratch
	if err := writeRecord(d.volume(id), r); err != nil {
		return err
	}
	return syncDir(d.volume(id))
}

// Resize sets the limit and then the record, which Open follows after a crash between them.
func (d *Driver) Resize(_ context.Context, id cluster.DatasetID, size int64) error {
	r, err := d.headRecord(id)
	if err != nil {
		return err
	}
	if size == r.Size {
		return nil
	}
	if used, err := d.used(d.head(id)); err != nil {
		return err
	} else if size > 0 && used > size {
		return fmt.Errorf("%w: %d bytes are in use", backend.ErrNoSpace, used)
	}
	if err := d.limit(d.head(id), size); err != nil {
		return err
	}
	r.Size = size
	if err := writeRecord(d.volume(id), r); err != nil {
		return err
	}
	return syncDir(d.volume(id))
}

// headRecord is the record of a head that is there.
func (d *Driver) headRecord(id cluster.DatasetID) (record, error) {
	switch is, err := isSubvolume(d.head(id)); {
	case err != nil:
		return record{}, err
	case !is:
		return record{}, fmt.Errorf("head: %w", backend.ErrNotFound)
	}
	return readRecord(d.volume(id))
}
