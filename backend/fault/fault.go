// SPDX-License-Identifier: Apache-2.0

// Package fault wraps a driver so that tests can let calls fail before or after they took effect.
package fault

import (
	"context"
	"io"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Hook is asked around every call; an error that it returns is what the caller gets.
type Hook func(op string, id cluster.DatasetID) error

// Driver is a peer-to-peer driver with faults. Both hooks may be nil.
type Driver struct {
	Inner  backend.Driver
	Before Hook // an error: the call is never made
	After  Hook // an error: the call was made and its answer is lost
}

// Unwrap is the driver behind the faults.
func (d *Driver) Unwrap() backend.Driver { return d.Inner }

func (d *Driver) do(op string, id cluster.DatasetID, call func() error) error {
	if d.Before != nil {
		if err := d.Before(op, id); err != nil {
			return err
		}
	}
	err := call()
	if d.After != nil {
		if lost := d.After(op, id); lost != nil {
			return lost
		}
	}
	return err
}

// with calls an optional method of the driver behind.
func with[T any](d *Driver, op string, id cluster.DatasetID, call func(T) error) error {
	ability, ok := d.Inner.(T)
	if !ok {
		return backend.ErrUnsupported
	}
	return d.do(op, id, func() error { return call(ability) })
}

// Create calls the driver behind.
func (d *Driver) Create(ctx context.Context, spec backend.Spec) error {
	return d.do("create", spec.Dataset, func() error { return d.Inner.Create(ctx, spec) })
}

// Destroy calls the driver behind.
func (d *Driver) Destroy(ctx context.Context, id cluster.DatasetID) error {
	return d.do("destroy", id, func() error { return d.Inner.Destroy(ctx, id) })
}

// List calls the driver behind.
func (d *Driver) List(ctx context.Context) (copies []cluster.Copy, err error) {
	err = d.do("list", "", func() error {
		copies, err = d.Inner.List(ctx)
		return err
	})
	return copies, err
}

// SetEpoch calls the driver behind.
func (d *Driver) SetEpoch(ctx context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	return d.do("set-epoch", id, func() error { return d.Inner.SetEpoch(ctx, id, epoch, scratch) })
}

// Space calls the driver behind.
func (d *Driver) Space(ctx context.Context) (free, total int64, err error) {
	err = with(d, "space", "", func(s backend.Space) error {
		free, total, err = s.Space(ctx)
		return err
	})
	return free, total, err
}

// Mount calls the driver behind.
func (d *Driver) Mount(ctx context.Context, id cluster.DatasetID, path string) error {
	return with(d, "mount", id, func(m backend.Mounter) error { return m.Mount(ctx, id, path) })
}

// Unmount calls the driver behind.
func (d *Driver) Unmount(ctx context.Context, id cluster.DatasetID) error {
	return with(d, "unmount", id, func(m backend.Mounter) error { return m.Unmount(ctx, id) })
}

// Released calls the driver behind.
func (d *Driver) Released(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	return with(d, "released", id, func(m backend.Mounter) error { return m.Released(ctx, id, snapshot) })
}

// Snapshot calls the driver behind.
func (d *Driver) Snapshot(ctx context.Context, id cluster.DatasetID, lineage backend.Lineage) (taken cluster.Snapshot, err error) {
	err = with(d, "snapshot", id, func(s backend.Snapshotter) error {
		taken, err = s.Snapshot(ctx, id, lineage)
		return err
	})
	return taken, err
}

// DeleteSnapshot calls the driver behind.
func (d *Driver) DeleteSnapshot(ctx context.Context, id cluster.DatasetID, name string) error {
	return with(d, "delete-snapshot", id, func(s backend.Snapshotter) error { return s.DeleteSnapshot(ctx, id, name) })
}

// Clone calls the driver behind.
func (d *Driver) Clone(ctx context.Context, from cluster.DatasetID, snapshot string, spec backend.Spec, scratch cluster.MoveID) error {
	return with(d, "clone", spec.Dataset, func(s backend.Snapshotter) error {
		return s.Clone(ctx, from, snapshot, spec, scratch)
	})
}

// Revert calls the driver behind.
func (d *Driver) Revert(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	return with(d, "revert", id, func(r backend.Reverter) error { return r.Revert(ctx, id, snapshot) })
}

// DropHead calls the driver behind.
func (d *Driver) DropHead(ctx context.Context, id cluster.DatasetID) error {
	return with(d, "drop-head", id, func(s backend.Snapshotter) error { return s.DropHead(ctx, id) })
}

// Send calls the driver behind.
func (d *Driver) Send(ctx context.Context, id cluster.DatasetID, snapshot, base string, w io.Writer) error {
	return with(d, "send", id, func(r backend.Replicator) error { return r.Send(ctx, id, snapshot, base, w) })
}

// Receive calls the driver behind.
func (d *Driver) Receive(ctx context.Context, to backend.Arrival, announced backend.Announced, r io.Reader) (got cluster.Snapshot, err error) {
	err = with(d, "receive", to.Dataset, func(inner backend.Replicator) error {
		got, err = inner.Receive(ctx, to, announced, r)
		return err
	})
	return got, err
}

// Partial calls the driver behind.
func (d *Driver) Partial(ctx context.Context, id cluster.DatasetID) (of cluster.Partial, err error) {
	err = with(d, "partial", id, func(r backend.Resumer) error {
		of, err = r.Partial(ctx, id)
		return err
	})
	return of, err
}

// SendRest calls the driver behind.
func (d *Driver) SendRest(ctx context.Context, id cluster.DatasetID, of cluster.Partial, w io.Writer) error {
	return with(d, "send-rest", id, func(r backend.Resumer) error { return r.SendRest(ctx, id, of, w) })
}

// Resize calls the driver behind.
func (d *Driver) Resize(ctx context.Context, id cluster.DatasetID, size int64) error {
	return with(d, "resize", id, func(r backend.Resizer) error { return r.Resize(ctx, id, size) })
}

// Store lets calls of a store of network volumes fail, as Driver does those of a driver.
func Store(before, after Hook) backend.Around {
	return func(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
		d := Driver{Before: before, After: after}
		return d.do(call.Op, call.Volume.Dataset, func() error { return do(ctx) })
	}
}
