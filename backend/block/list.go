// SPDX-License-Identifier: Apache-2.0

package block

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// head is what is known of the head of an attached volume that is mounted nowhere.
type head struct {
	device string
	epoch  cluster.Epoch // the last one read; 0: none was
}

// List is what the store listed last, and what the kernel has of it.
func (d *Driver) List(ctx context.Context) ([]cluster.Copy, error) {
	known, err := d.listing.all(ctx)
	if err != nil {
		return nil, err
	}
	if d.learn(ctx) {
		if known, err = d.listing.all(ctx); err != nil {
			return nil, err
		}
	}
	attached, err := d.store.Attached(ctx)
	if err != nil {
		return nil, err
	}
	table, err := mount.Table()
	if err != nil {
		return nil, err
	}
	copies := make([]cluster.Copy, 0, len(known))
	for id, volumes := range known {
		c := cluster.Copy{Dataset: id, Volume: names(volumes)}
		for _, v := range volumes {
			if len(volumes) > 1 && attached[v.ID] == "" {
				continue // which of several has the data cannot be said, only which of them is here
			}
			if err := d.observe(ctx, &c, v, attached[v.ID], table); err != nil {
				return nil, err
			}
		}
		copies = append(copies, c)
	}
	slices.SortFunc(copies, func(a, b cluster.Copy) int { return cmp.Compare(a.Dataset, b.Dataset) })
	return copies, nil
}

// observe adds what the kernel has of a volume.
func (d *Driver) observe(ctx context.Context, c *cluster.Copy, v backend.Volume, name string, table []mount.Entry) error {
	c.Size, c.Snapshots = v.Size, snapshotsOf(v)
	if name != "" {
		device, err := filepath.EvalSymlinks(name)
		if err != nil {
			return nil //nolint:nilerr // it went away this moment
		}
		c.Device = device
	}
	on, err := mountsIn(table, v.Dataset, c.Device)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.ID, err)
	}
	if len(on) > 0 {
		return d.observeMounted(ctx, c, on[0].Point)
	}
	if c.Device == "" {
		c.Holder = v.Machine
		return nil
	}
	h, err := d.headOf(v.Dataset, c.Device)
	if err != nil && !d.unreadable(ctx, v.Dataset, err) {
		return err
	}
	setHead(c, h)
	return nil
}

func setHead(c *cluster.Copy, h *head) {
	c.Head, c.Epoch = h != nil, 0
	if h != nil {
		c.Epoch = h.epoch
	}
}

// unreadable says that what could not be read is a matter of one volume alone: the store keeps this machine out of it, or its device
// has failed. All else goes on, and the volume can still be unmounted and detached.
func (d *Driver) unreadable(ctx context.Context, id cluster.DatasetID, err error) bool {
	if !errors.Is(err, unix.EIO) {
		return false
	}
	d.config.Log.WarnContext(ctx, "an attached volume cannot be read", "dataset", id, "error", err)
	return true
}

func (d *Driver) observeMounted(ctx context.Context, c *cluster.Copy, point string) error {
	c.Mounted = point
	r, err := readRecord(point, c.Dataset)
	if errors.Is(err, backend.ErrChanged) {
		return nil // it is not this dataset's head, and what is done with it says so
	}
	if d.unreadable(ctx, c.Dataset, err) {
		setHead(c, d.known(c.Dataset, c.Device))
		return nil
	}
	if err != nil {
		return err
	}
	c.Head, c.Epoch = true, r.Epoch
	d.note(c.Dataset, head{device: c.Device, epoch: r.Epoch})
	var fs unix.Statfs_t
	if err := unix.Statfs(point, &fs); err != nil {
		return fmt.Errorf("space of %s: %w", point, err)
	}
	c.Used = int64(fs.Blocks-fs.Bfree) * fs.Bsize
	return nil
}

// headOf is what is known of the head on a device that is mounted nowhere here, nil if there is none. The device is read
// once after it appeared.
func (d *Driver) headOf(id cluster.DatasetID, device string) (*head, error) {
	if h := d.known(id, device); h != nil {
		return h, nil
	}
	f, err := os.Open(device)
	if err != nil {
		return nil, nil // it went away this moment
	}
	defer f.Close()
	c, err := lookAt(f, id)
	if errors.Is(err, backend.ErrExists) {
		return nil, nil // somebody else's
	}
	if err != nil || c.state != whole {
		return nil, err
	}
	h := head{device: device}
	d.note(id, h)
	return &h, nil
}

// known is what was read of the head on that device before, nil where nothing was.
func (d *Driver) known(id cluster.DatasetID, device string) *head {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h, seen := d.seen[id]; seen && h.device == device {
		return &h
	}
	return nil
}

func (d *Driver) note(id cluster.DatasetID, h head) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[id] = h
}

// forget drops what is known of a device that goes away.
func (d *Driver) forget(id cluster.DatasetID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, id)
}
