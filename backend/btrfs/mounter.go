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
	"github.com/flocker-project/flocker/mount"
)

// Mount binds the head to path: the pool itself stays where it is mounted, kept from everyone but root.
func (d *Driver) Mount(_ context.Context, id cluster.DatasetID, path string) error {
	if _, err := d.headRecord(id); err != nil {
		return err
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	place := d.headPlace(id)
	if on, mounted := mount.At(table, path); mounted {
		if on.Dev == place.Dev && on.Root == place.Root {
			return nil
		}
		return fmt.Errorf("%w: %s is mounted on %s", backend.ErrBusy, on.Source, path)
	}
	if err := mount.MakePoint(path); err != nil {
		return err
	}
	return mount.Bind(d.head(id), path)
}

// Unmount undoes every mount of the head in this mount namespace.
func (d *Driver) Unmount(ctx context.Context, id cluster.DatasetID) error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	place := d.headPlace(id)
	for _, m := range table {
		if m.Dev != place.Dev || m.Root != place.Root {
			continue
		}
		err := mount.Unmount(m.Point)
		if errors.Is(err, mount.ErrBusy) {
			return errors.Join(busy(err), d.unused(ctx, id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Released looks at every process, and then at the head.
func (d *Driver) Released(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	if err := d.unused(ctx, id); err != nil || snapshot == "" {
		return err
	}
	base, err := d.readOnly(id, snapshot)
	if err != nil {
		return err
	}
	if is, err := isSubvolume(d.head(id)); err != nil || !is {
		return err // without a head there is nothing to write to
	}
	// Dirty pages show in no tree. A snapshot writes out those of this subvolume only, where a sync would wait for
	// every other dataset's.
	place := d.dir(incomingDir, rand.Text())
	if err := os.Mkdir(place, 0o700); err != nil {
		return fmt.Errorf("make the probe's place: %w", sentinel(err))
	}
	defer d.sweepLater(place)
	if err := d.withRoom(func() error { return snapshotSubvolume(d.head(id), filepath.Join(place, "probe"), true) }); err != nil {
		return err
	}
	return within(d.head(id), func(fd int) error {
		head := new(subvolInfo)
		if err := ioctl(fd, iocSubvolInfo, head); err != nil {
			return fmt.Errorf("information of the head: %w", err)
		}
		changed, err := diverged(fd, head, base)
		if err != nil {
			return err
		}
		if changed {
			return fmt.Errorf("%w %s", backend.ErrChanged, snapshot)
		}
		return nil
	})
}

// unused is ErrBusy with the names of those who can reach the head.
func (d *Driver) unused(ctx context.Context, id cluster.DatasetID) error {
	dev, err := subvolumeDevice(d.head(id))
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return backend.Unused(ctx, mount.Target{Place: d.headPlace(id), Dev: dev})
}
