// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// keeper is the store where it keeps snapshots, else why it does not. A store that was never asked anything may not have said yet.
func (d *Driver) keeper(ctx context.Context) (backend.VolumeSnapshotter, error) {
	store, ok := backend.VolumesAs[backend.VolumeSnapshotter](d.store)
	if !ok {
		return nil, fmt.Errorf("%w: its store has no snapshots", backend.ErrUnsupported)
	}
	if store.CanSnapshot() != nil && !d.listing.known() {
		if err := d.listing.refresh(ctx); err != nil {
			return nil, err
		}
	}
	return store, store.CanSnapshot()
}

// reverter is the store where it can make a volume what it was.
func (d *Driver) reverter(ctx context.Context) (backend.VolumeReverter, error) {
	_, err := d.keeper(ctx)
	if err != nil {
		return nil, err
	}
	store, ok := backend.VolumesAs[backend.VolumeReverter](d.store)
	if !ok {
		return nil, fmt.Errorf("%w: its store cannot go back to a snapshot", backend.ErrUnsupported)
	}
	return store, nil
}

// Snapshot writes out what the filesystem holds back and lets the store keep the volume as it is then. The filesystem is not frozen: nothing
// would thaw it if this process died. So a snapshot is what a loss of power leaves, and its journal is replayed when it is mounted.
func (d *Driver) Snapshot(ctx context.Context, id cluster.DatasetID, lineage backend.Lineage) (cluster.Snapshot, error) {
	store, err := d.keeper(ctx)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	v, device, err := d.device(ctx, id)
	if err == nil {
		_, err = d.listing.find(ctx, id) // of several volumes none is kept
	}
	if err != nil {
		return cluster.Snapshot{}, err
	}
	if err := d.writeOut(id, device); err != nil {
		return cluster.Snapshot{}, err
	}
	taken, err := store.TakeSnapshot(ctx, v, lineage.Name())
	if err != nil {
		return cluster.Snapshot{}, err
	}
	d.listing.keep(id, taken)
	s, _ := snapshotOf(taken)
	return s, nil
}

// writeOut flushes the dataset's whole head to the store.
func (d *Driver) writeOut(id cluster.DatasetID, device string) error {
	on, err := mountsOf(id, device)
	if err != nil {
		return err
	}
	d.mu.Lock()
	h := d.held[id]
	d.mu.Unlock()
	switch {
	case len(on) > 0:
		if _, err := readRecord(on[0].Point, id); err != nil {
			return err
		}
		err = syncRoot(os.Open(on[0].Point))
	case h != nil && h.device == device:
		err = syncRoot(h.fs.Root())
	default:
		var there *head
		if there, err = d.headOf(id, device); err == nil && there == nil {
			err = fmt.Errorf("%w: %s carries no head of dataset %s", backend.ErrNotFound, device, id)
		}
	}
	if err != nil {
		return fmt.Errorf("write out dataset %s: %w", id, err)
	}
	return flushDevice(device)
}

func syncRoot(root *os.File, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(root.Fd())), root.Close())
}

// flushDevice returns once the store has all that was written to a device.
func flushDevice(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("flush %s: %w", device, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("flush %s: %w", device, err)
	}
	return nil
}

// snapshotOf is a store's snapshot, if its name is a lineage's.
func snapshotOf(s backend.VolumeSnapshot) (cluster.Snapshot, bool) {
	lineage, err := backend.ParseLineage(s.Name)
	return cluster.Snapshot{Name: s.Name, Epoch: lineage.Epoch, Serial: lineage.Serial, ID: s.ID, Created: s.Created}, err == nil
}

// snapshotsOf are those of a volume, oldest first.
func snapshotsOf(v backend.Volume) []cluster.Snapshot {
	var list []cluster.Snapshot
	for _, s := range v.Snapshots {
		if one, ours := snapshotOf(s); ours {
			list = append(list, one)
		}
	}
	backend.SortSnapshots(list)
	return list
}

// DeleteSnapshot asks the store.
func (d *Driver) DeleteSnapshot(ctx context.Context, id cluster.DatasetID, name string) error {
	store, err := d.keeper(ctx)
	if err != nil {
		return err
	}
	v, err := d.listing.find(ctx, id)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := store.DeleteSnapshot(ctx, v, name); err != nil {
		return err
	}
	d.listing.unkeep(id, name)
	return nil
}

// DropHead is not for network storage: its one copy is the head.
func (d *Driver) DropHead(context.Context, cluster.DatasetID) error {
	return fmt.Errorf("drop the head of a volume: %w", backend.ErrUnsupported)
}

// Revert makes the volume what it was in a snapshot. The epoch that was written on it then is raised when it is mounted.
func (d *Driver) Revert(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	store, err := d.reverter(ctx)
	if err != nil {
		return err
	}
	v, device, err := d.device(ctx, id)
	if errors.Is(err, backend.ErrNotAttached) {
		return fmt.Errorf("%w: its volume is not attached here: %w", backend.ErrNotFound, err)
	}
	if err == nil {
		_, err = d.listing.find(ctx, id)
	}
	if err != nil {
		return err
	}
	if err := d.unused(ctx, id, device); err != nil {
		return err
	}
	before := d.known(id, device)
	if err := store.Rollback(ctx, v, snapshot); err != nil {
		return err
	}
	d.forget(id)
	if device, err = d.attach(ctx, v); err != nil {
		return err
	}
	c, err := d.look(ctx, device, id)
	switch {
	case err != nil:
		return fmt.Errorf("volume %s: %w", v.ID, err)
	case c.state != whole:
		return fmt.Errorf("%w: snapshot %s of volume %s holds no whole head", backend.ErrChanged, snapshot, v.ID)
	case before != nil:
		d.note(id, head{device: device, epoch: before.epoch})
	}
	return nil
}

// unchanged is ErrChanged where an attached volume that nobody has open holds anything but what the snapshot does.
func (d *Driver) unchanged(ctx context.Context, id cluster.DatasetID, device, snapshot string) error {
	store, err := d.reverter(ctx)
	if err != nil {
		return err
	}
	v, err := d.listing.find(ctx, id)
	if err != nil {
		return err
	}
	if err := flushDevice(device); err != nil {
		return err
	}
	differs, err := store.Differs(ctx, v, snapshot)
	if err == nil && differs {
		err = fmt.Errorf("%w: volume %s is not what it was in %s", backend.ErrChanged, v.ID, snapshot)
	}
	return err
}

// learn asks for the snapshots of volumes that were attached since they were listed: the machine that had them may have taken some. It
// says whether it asked.
func (d *Driver) learn(ctx context.Context) (asked bool) {
	store, err := d.keeper(ctx)
	if err != nil {
		return false // there are none
	}
	for id, since := range d.listing.doubtful() {
		v, err := d.listing.one(id)
		if err != nil {
			continue // a listing tells what became of it
		}
		asked = true
		list, err := store.Snapshots(ctx, v)
		if err != nil { // the next listing has them
			d.config.Log.WarnContext(ctx, "store does not tell a volume's snapshots", "dataset", id, "volume", v.ID, "error", err)
			d.listing.expire()
			continue
		}
		d.listing.learned(id, since, list)
	}
	return asked
}
