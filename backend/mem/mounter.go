// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Mount notes where the head is mounted; nothing appears on disk.
func (d *Driver) Mount(_ context.Context, id cluster.DatasetID, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return err
	}
	for other, v := range d.volumes {
		if v.head != nil && v.head.mounted == path && other != id {
			return fmt.Errorf("%w: dataset %s is mounted on %s", backend.ErrBusy, other, path)
		}
	}
	h.mounted = path
	return nil
}

// Unmount is refused while something is open through this mount.
func (d *Driver) Unmount(_ context.Context, id cluster.DatasetID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return nil // what has no head is not mounted
	}
	for u := range h.holds {
		if !u.elsewhere {
			return fmt.Errorf("unmount %s: %w by %s", h.mounted, backend.ErrBusy, u.who)
		}
	}
	h.mounted = ""
	return nil
}

// Released says what is known for certain.
func (d *Driver) Released(_ context.Context, id cluster.DatasetID, snapshot string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[id]
	if v != nil {
		if err := v.head.unused(); err != nil {
			return err
		}
	}
	if snapshot == "" {
		return nil
	}
	if v == nil {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	if _, ok := v.snapshots[snapshot]; !ok {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	if v.head != nil && v.head.base != snapshot {
		return fmt.Errorf("%w %s", backend.ErrChanged, snapshot)
	}
	return nil
}
