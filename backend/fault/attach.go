// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Attach calls the driver behind.
func (d *Driver) Attach(ctx context.Context, id cluster.DatasetID) error {
	return with(d, "attach", id, func(a backend.Attacher) error { return a.Attach(ctx, id) })
}

// Ready calls the driver behind.
func (d *Driver) Ready(ctx context.Context, id cluster.DatasetID) error {
	return with(d, "ready", id, func(a backend.Preparer) error { return a.Ready(ctx, id) })
}

// Unready calls the driver behind.
func (d *Driver) Unready(ctx context.Context, id cluster.DatasetID) error {
	return with(d, "unready", id, func(a backend.Preparer) error { return a.Unready(ctx, id) })
}

// Detach calls the driver behind.
func (d *Driver) Detach(ctx context.Context, id cluster.DatasetID) error {
	return with(d, "detach", id, func(a backend.Attacher) error { return a.Detach(ctx, id) })
}

// Evict calls the driver behind.
func (d *Driver) Evict(ctx context.Context, id cluster.DatasetID, machine string) error {
	return with(d, "evict", id, func(a backend.Attacher) error { return a.Evict(ctx, id, machine) })
}

// Flush calls the driver behind.
func (d *Driver) Flush(ctx context.Context, id cluster.DatasetID) error {
	return with(d, "flush", id, func(f backend.Preparer) error { return f.Flush(ctx, id) })
}

// Expect calls the driver behind.
func (d *Driver) Expect(ctx context.Context, ids []cluster.DatasetID) error {
	return with(d, "expect", "", func(a backend.Attacher) error { return a.Expect(ctx, ids) })
}

// Machine asks the driver behind, whose answer never fails.
func (d *Driver) Machine() string {
	if a, ok := d.Inner.(backend.Attacher); ok {
		return a.Machine()
	}
	return ""
}

// Abilities asks the driver behind.
func (d *Driver) Abilities() cluster.Capabilities {
	if a, ok := d.Inner.(backend.Attacher); ok {
		return a.Abilities()
	}
	return cluster.Capabilities{}
}
