// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flocker-project/flocker/cluster"
)

// recover removes what an earlier process left half made, half received or half destroyed, and sets the limits that
// the records ask for.
func (d *Driver) recover(ctx context.Context) error {
	for _, dir := range []string{incomingDir, trashDir} {
		entries, err := os.ReadDir(d.dir(dir))
		if err != nil {
			return fmt.Errorf("clean the pool: %w", err)
		}
		for _, e := range entries {
			path := d.dir(dir, e.Name())
			subvolume, err := isSubvolume(path)
			if err == nil && subvolume {
				err = deleteSubvolume(ctx, path)
			} else if err == nil {
				err = d.deleteTree(ctx, path)
			}
			if err != nil {
				return fmt.Errorf("clean the pool: %w", err)
			}
		}
	}
	entries, err := os.ReadDir(d.dir(datasetsDir))
	if err != nil {
		return fmt.Errorf("clean the pool: %w", err)
	}
	for _, e := range entries {
		if !datasetForm.MatchString(e.Name()) {
			continue
		}
		if err := d.recoverVolume(ctx, cluster.DatasetID(e.Name())); err != nil {
			return fmt.Errorf("clean dataset %s: %w", e.Name(), err)
		}
	}
	return nil
}

func (d *Driver) recoverVolume(ctx context.Context, id cluster.DatasetID) error {
	if err := deleteSubvolume(ctx, filepath.Join(d.volume(id), newName)); err != nil {
		return err
	}
	if err := d.sweep(id); err != nil {
		return err
	}
	is, err := isSubvolume(d.head(id))
	if err != nil || !is {
		return err
	}
	r, err := readRecord(d.volume(id))
	if err != nil {
		return err
	}
	around, err := d.surroundings()
	if err != nil {
		return err
	}
	info, err := subvolumeInfo(d.head(id))
	if err != nil {
		return err
	}
	if around.groups[info.treeID].limit == r.Size {
		return nil
	}
	return d.limit(d.head(id), r.Size)
}
