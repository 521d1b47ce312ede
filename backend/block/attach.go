// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Waits for a device that its store says is there.
const (
	deviceAgain  = 2 * time.Millisecond
	deviceSlowly = 100 * time.Millisecond
)

// Machine is this node's name in the store.
func (d *Driver) Machine() string { return d.machine }

// Abilities says what the store behind can do.
func (d *Driver) Abilities() cluster.Capabilities { return AbilitiesOver(d.store) }

// AbilitiesOver says what a driver over a store can do.
func AbilitiesOver(store backend.Volumes) cluster.Capabilities {
	evicter, fences := backend.VolumesAs[backend.Evicter](store)
	fences = fences && evicter.Fences()
	_, grows := backend.VolumesAs[backend.Grower](store)
	can := cluster.Capabilities{Attaches: true, Fences: fences, Resizes: grows}
	if snapshotter, ok := backend.VolumesAs[backend.VolumeSnapshotter](store); ok {
		if err := snapshotter.CanSnapshot(); err != nil {
			can.NoSnapshots = err.Error()
		} else {
			_, reverts := backend.VolumesAs[backend.VolumeReverter](store)
			can.Snapshots, can.Reverts = true, reverts
		}
	}
	return can
}

// Attach attaches the volume and finishes formatting that was interrupted. A volume that was never begun to be formatted
// is attached and left as it is: that it should hold nothing only Create knows.
func (d *Driver) Attach(ctx context.Context, id cluster.DatasetID) error {
	v, err := d.listing.find(ctx, id)
	if err != nil {
		return err
	}
	device, err := d.attach(ctx, v)
	if err != nil {
		return err
	}
	if v.Machine != d.machine {
		d.listing.doubt(id)
	}
	return d.prepare(ctx, v, device, nil)
}

// Ready lets the store do ahead what attaching begins with, where it can.
func (d *Driver) Ready(ctx context.Context, id cluster.DatasetID) error {
	return d.ahead(ctx, id, backend.Readier.Ready)
}

// Unready takes that back.
func (d *Driver) Unready(ctx context.Context, id cluster.DatasetID) error {
	return d.ahead(ctx, id, backend.Readier.Unready)
}

func (d *Driver) ahead(ctx context.Context, id cluster.DatasetID, do func(backend.Readier, context.Context, backend.Volume) error) error {
	readier, ok := backend.VolumesAs[backend.Readier](d.store)
	if !ok {
		return nil
	}
	v, err := d.listing.find(ctx, id)
	if err != nil {
		return err
	}
	return do(readier, ctx, v)
}

// attach returns the device itself, not a link to it, once it can be opened.
func (d *Driver) attach(ctx context.Context, v backend.Volume) (string, error) {
	name, err := d.store.Attach(ctx, v)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		d.listing.missing(v.Dataset)
	case errors.Is(err, backend.ErrBusy) && (v.Machine == "" || v.Machine == d.machine):
		d.listing.expire() // who has it is not who the last listing said
	}
	if err != nil {
		return "", err
	}
	v.Machine = d.machine
	d.listing.put(v)
	for wait := deviceAgain; ; wait = min(2*wait, deviceSlowly) {
		device, err := opens(name)
		if err == nil {
			return device, nil
		}
		if stop := pause(ctx, wait); stop != nil {
			return "", fmt.Errorf("wait for the device of volume %s: %w: %w", v.ID, stop, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func opens(name string) (device string, err error) {
	if device, err = filepath.EvalSymlinks(name); err != nil {
		return "", err
	}
	f, err := os.Open(device)
	if err != nil {
		return "", err
	}
	return device, f.Close()
}

// Detach detaches a volume that is neither mounted nor otherwise in use.
func (d *Driver) Detach(ctx context.Context, id cluster.DatasetID) error {
	v, _, err := d.device(ctx, id)
	if errors.Is(err, backend.ErrNotAttached) {
		v, err = d.listing.find(ctx, id)
	}
	if err != nil {
		return err
	}
	return d.detach(ctx, v)
}

func (d *Driver) detach(ctx context.Context, v backend.Volume) error {
	attached, err := d.store.Attached(ctx)
	if err != nil {
		return err
	}
	if name, is := attached[v.ID]; is {
		device, err := filepath.EvalSymlinks(name)
		if err == nil {
			err = d.unused(ctx, v.Dataset, device)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the kernel took it away meanwhile
			return err
		}
	}
	d.forget(v.Dataset)
	if err := d.store.Detach(ctx, v); err != nil {
		return err
	}
	if v.Machine == d.machine {
		v.Machine = ""
	}
	d.listing.put(v)
	return nil
}

// Evict keeps another machine from the volume.
func (d *Driver) Evict(ctx context.Context, id cluster.DatasetID, machine string) error {
	evicter, ok := backend.VolumesAs[backend.Evicter](d.store)
	if !ok {
		return fmt.Errorf("evict %s: %w: its store cannot take a volume from a machine", machine, backend.ErrUnsupported)
	}
	v, err := d.listing.find(ctx, id)
	if err != nil {
		return err
	}
	if err := evicter.Evict(ctx, v, machine); err != nil {
		return err
	}
	if v.Machine == machine {
		v.Machine = ""
	}
	d.listing.put(v)
	return nil
}

// Expect asks the store where one of the volumes is not known and was not looked for lately.
func (d *Driver) Expect(ctx context.Context, ids []cluster.DatasetID) error {
	return d.listing.expect(ctx, ids)
}

// device is the volume of a dataset and the device of it that the kernel has. Of several volumes it is the one that is
// attached here: what is in use can be let go whatever else there is.
func (d *Driver) device(ctx context.Context, id cluster.DatasetID) (v backend.Volume, device string, err error) {
	volumes, err := d.listing.of(ctx, id)
	if err != nil {
		return v, "", err
	}
	attached, err := d.store.Attached(ctx)
	if err != nil {
		return v, "", err
	}
	here := slices.DeleteFunc(volumes, func(v backend.Volume) bool { return attached[v.ID] == "" })
	switch len(here) {
	case 0:
		return v, "", fmt.Errorf("dataset %s: %w", id, backend.ErrNotAttached)
	case 1:
	default:
		return v, "", fmt.Errorf("%w: volumes %s are all attached here for this dataset", backend.ErrExists, names(here))
	}
	device, err = filepath.EvalSymlinks(attached[here[0].ID])
	if err != nil {
		return v, "", fmt.Errorf("device of volume %s: %w", here[0].ID, err)
	}
	return here[0], device, nil
}

// unused is ErrBusy, with the names of those who use a device where they can be found.
func (d *Driver) unused(ctx context.Context, id cluster.DatasetID, device string) error {
	if err := d.let(id); err != nil {
		return err
	}
	f, err := d.claim(ctx, device)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, os.ErrNotExist): // the kernel took it away meanwhile
		return nil
	}
	return err
}

// A process that starts a container has copies of all mounts until it has changed to the container's root.
const (
	passing = 300 * time.Millisecond
	again   = 5 * time.Millisecond
)

// claim opens a device that nobody else has claimed. It looks again for a while where it is mounted in other mount
// namespaces only, which mostly passes.
func (d *Driver) claim(ctx context.Context, device string) (*os.File, error) {
	for deadline := time.Now().Add(passing); ; {
		f, err := mount.OpenExclusive(device)
		if !errors.Is(err, mount.ErrBusy) {
			return f, err
		}
		table, err := mount.Table()
		if err != nil {
			return nil, err
		}
		on, err := mount.Of(table, device)
		if err != nil {
			return nil, err
		}
		if len(on) > 0 {
			return nil, fmt.Errorf("%w: %s is mounted on %s", backend.ErrBusy, device, on[0].Point)
		}
		if time.Now().After(deadline) {
			return nil, d.inUse(ctx, device)
		}
		if err := pause(ctx, again); err != nil {
			return nil, errors.Join(err, d.inUse(ctx, device))
		}
	}
}

func (d *Driver) inUse(ctx context.Context, device string) error {
	number, err := mount.DeviceNumber(device)
	if err != nil {
		return err
	}
	who, err := d.users(context.WithoutCancel(ctx), mount.Entry{Dev: number})
	return errors.Join(fmt.Errorf("%w: %s is mounted or open%s", backend.ErrBusy, device, who), err)
}
