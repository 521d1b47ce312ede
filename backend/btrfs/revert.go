// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Revert makes the new head under another name and lets the two change places in one step of the filesystem; the record
// beside the head stays as it is.
func (d *Driver) Revert(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	r, err := d.headRecord(id)
	if err != nil {
		return err
	}
	if _, err := backend.ParseLineage(snapshot); err != nil {
		return err
	}
	source := d.snapshot(id, snapshot)
	if is, err := isSubvolume(source); err != nil {
		return err
	} else if !is {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	if err := d.unused(ctx, id); err != nil {
		return err
	}
	return d.withRoom(func() error { return d.exchange(ctx, id, source, r.Size) })
}

func (d *Driver) exchange(ctx context.Context, id cluster.DatasetID, source string, size int64) error {
	fresh, head := filepath.Join(d.volume(id), newName), d.head(id)
	if err := deleteSubvolume(ctx, fresh); err != nil {
		return err
	}
	if err := snapshotSubvolume(source, fresh, false); err != nil {
		return err
	}
	if err := d.limit(fresh, size); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, head, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("put %s in the place of the head: %w", filepath.Base(source), sentinel(err))
	}
	// Before the former head goes, the new one is there for good.
	if err := commit(d.volume(id)); err != nil {
		return err
	}
	return deleteSubvolume(ctx, fresh)
}
