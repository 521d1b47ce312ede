// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Snapshot takes a snapshot that holds everything written before, on disk when it returns. Subvolumes that a container
// made inside its data would be missing in it, and are refused.
func (d *Driver) Snapshot(_ context.Context, id cluster.DatasetID, lineage backend.Lineage) (cluster.Snapshot, error) {
	path := d.snapshot(id, lineage.Name())
	there, err := isSubvolume(path)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	if !there {
		nested, err := nestedSubvolumes(d.head(id))
		if err != nil {
			return cluster.Snapshot{}, err
		}
		if len(nested) > 0 {
			return cluster.Snapshot{}, fmt.Errorf("%w: btrfs subvolumes inside a dataset (%s); make them folders", backend.ErrUnsupported, strings.Join(nested, ", "))
		}
		if err := d.withRoom(func() error { return snapshotSubvolume(d.head(id), path, true) }); err != nil {
			return cluster.Snapshot{}, err
		}
	}
	info, err := subvolumeInfo(path)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	return describe(lineage.Name(), lineage, info, qgroup{}), nil
}

// DeleteSnapshot removes a snapshot; its space comes back in the background.
func (d *Driver) DeleteSnapshot(ctx context.Context, id cluster.DatasetID, name string) error {
	path := d.snapshot(id, name)
	switch is, err := isSubvolume(path); {
	case err != nil:
		return err
	case !is:
		return nil
	}
	if err := deleteSubvolume(ctx, path); err != nil {
		return err
	}
	return d.sweep(id)
}

// Clone makes a head of a snapshot.
func (d *Driver) Clone(ctx context.Context, from cluster.DatasetID, snapshot string, spec backend.Spec, scratch cluster.MoveID) error {
	head := d.head(spec.Dataset)
	if is, err := isSubvolume(head); err != nil {
		return err
	} else if is {
		return fmt.Errorf("head: %w", backend.ErrExists)
	}
	lineage, err := backend.ParseLineage(snapshot)
	if err != nil {
		return err
	}
	if from == spec.Dataset && spec.Epoch < lineage.Epoch {
		return fmt.Errorf("epoch %d is older than snapshot %s: %w", spec.Epoch, snapshot, backend.ErrChanged)
	}
	source := d.snapshot(from, snapshot)
	if is, err := isSubvolume(source); err != nil {
		return err
	} else if !is {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	if from != spec.Dataset {
		return d.withRoom(func() error { return d.cloneOther(ctx, source, spec, scratch) })
	}
	if err := d.withRoom(func() error { return d.cloneOwn(source, spec, scratch) }); err != nil {
		return err
	}
	return d.limit(head, spec.Size)
}

// cloneOwn makes the head at once: the snapshot's own commit makes the record durable with it. This is inside the gap
// of a move.
func (d *Driver) cloneOwn(source string, spec backend.Spec, scratch cluster.MoveID) error {
	if err := writeRecord(d.volume(spec.Dataset), recordOf(spec, scratch)); err != nil {
		return err
	}
	return snapshotSubvolume(source, d.head(spec.Dataset), false)
}

// cloneOther makes a head of another dataset's snapshot, which has to be marked before it shows.
func (d *Driver) cloneOther(ctx context.Context, source string, spec backend.Spec, scratch cluster.MoveID) error {
	if err := d.makeVolume(spec.Dataset); err != nil {
		return err
	}
	fresh := filepath.Join(d.volume(spec.Dataset), newName)
	if err := deleteSubvolume(ctx, fresh); err != nil {
		return err
	}
	if err := snapshotSubvolume(source, fresh, false); err != nil {
		return err
	}
	if err := setDataset(fresh, spec.Dataset); err != nil {
		return err
	}
	return d.finishHead(fresh, d.head(spec.Dataset), spec, scratch)
}

// DropHead removes the head when nobody can reach it.
func (d *Driver) DropHead(ctx context.Context, id cluster.DatasetID) error {
	if is, err := isSubvolume(d.head(id)); err != nil || !is {
		return err
	}
	if err := d.unused(ctx, id); err != nil {
		return err
	}
	if err := deleteSubvolume(ctx, d.head(id)); err != nil {
		return err
	}
	if err := d.sweep(id); err != nil {
		return err
	}
	return commit(d.root)
}

// sweep removes the folder of a volume of which nothing is left.
func (d *Driver) sweep(id cluster.DatasetID) error {
	entries, err := os.ReadDir(d.volume(id))
	if err != nil || len(entries) > 0 {
		return err
	}
	if err := os.Remove(d.volume(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the volume's folder: %w", err)
	}
	return nil
}
