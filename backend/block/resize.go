// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"fmt"
	"os"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Resize enlarges a volume and the filesystem on it. Where it is not attached its filesystem follows when it is mounted.
func (d *Driver) Resize(ctx context.Context, id cluster.DatasetID, size int64) error {
	grower, ok := backend.VolumesAs[backend.Grower](d.store)
	if !ok {
		return fmt.Errorf("resize: %w: its store cannot enlarge a volume", backend.ErrUnsupported)
	}
	v, err := d.listing.find(ctx, id)
	switch {
	case err != nil:
		return err
	case size == 0:
		return fmt.Errorf("resize: %w: a volume of network storage always has a limit", backend.ErrUnsupported)
	case size < v.Size:
		return fmt.Errorf("resize: %w: volume %s has %d bytes, and volumes of network storage never become smaller", backend.ErrUnsupported, v.ID, v.Size)
	}
	if err := grower.Grow(ctx, v, size); err != nil {
		return err
	}
	v.Size = max(v.Size, size)
	d.listing.put(v)
	attached, err := d.store.Attached(ctx)
	if err != nil || attached[v.ID] == "" {
		return err
	}
	return d.within(ctx, id, d.fill)
}

// fill lets a mounted filesystem use its whole device.
func (d *Driver) fill(at place) error {
	device, err := os.Open(at.device)
	if err != nil {
		return err
	}
	defer device.Close()
	size, err := mount.DeviceSize(device)
	if err != nil {
		return err
	}
	return mount.Enlarge(at.root, at.fstype, body(size))
}
