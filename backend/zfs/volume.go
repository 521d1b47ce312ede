// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Create makes the head out of sight, and renames it when it is whole.
func (d *Driver) Create(ctx context.Context, spec backend.Spec) error {
	ls, err := d.look(ctx, spec.Dataset)
	if err != nil {
		return err
	}
	if head := ls.head(); head != nil {
		if head.refquota == spec.Size {
			return nil
		}
		return fmt.Errorf("%w: with a size of %d bytes, not %d", backend.ErrExists, head.refquota, spec.Size)
	}
	if len(ls) > 0 {
		return fmt.Errorf("%w: as snapshots without a head", backend.ErrExists)
	}
	head := recordOf(spec, "")
	marks, err := d.marks(spec.Dataset, &head, spec.Size, spec.Profile)
	if err != nil {
		return err
	}
	fresh := d.fresh()
	if err := d.makeHead(ctx, fresh, marks, d.usualPoint(spec.Dataset), spec.Root); err != nil {
		return errors.Join(err, d.scrap(ctx, fresh))
	}
	name, err := d.appear(ctx, fresh, spec.Dataset)
	if err != nil {
		return errors.Join(err, d.scrap(ctx, fresh))
	}
	d.know(name, func(s *state) { s.settled = true })
	return nil
}

func (d *Driver) makeHead(ctx context.Context, fresh string, marks []string, point string, root cluster.Root) error {
	if _, err := d.zfs(ctx, slices.Concat([]string{"create"}, marks, []string{fresh})...); err != nil {
		return err
	}
	if err := d.setPoint(ctx, fresh, point); err != nil {
		return err
	}
	if err := d.mountAt(ctx, fresh, point, false); err != nil {
		return err
	}
	return errors.Join(backend.MakeData(point, root), d.unmountAll(ctx, fresh))
}

// headOf is a dataset's head.
func (d *Driver) headOf(ctx context.Context, id cluster.DatasetID) (*line, error) {
	ls, err := d.look(ctx, id)
	if err != nil {
		return nil, err
	}
	if head := ls.head(); head != nil {
		return head, nil
	}
	return nil, fmt.Errorf("head: %w", backend.ErrNotFound)
}

// SetEpoch writes the record when it differs.
func (d *Driver) SetEpoch(ctx context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	head, err := d.headOf(ctx, id)
	if err != nil {
		return err
	}
	r := *head.head
	if epoch < r.Epoch {
		return fmt.Errorf("epoch %d is older than %d on the data: %w", epoch, r.Epoch, backend.ErrChanged)
	}
	if epoch == r.Epoch && scratch == r.Scratch {
		return nil
	}
	r.Epoch, r.Scratch = epoch, scratch
	return d.writeRecord(ctx, head.name, r)
}

// writeRecord makes a line the head, or changes what is known of it. It is durable when it returns.
func (d *Driver) writeRecord(ctx context.Context, line string, r record) error {
	text, err := r.encode()
	if err != nil {
		return err
	}
	return d.set(ctx, line, headMark, text)
}

// Resize sets the limit; ZFS itself refuses one that is below what is used.
func (d *Driver) Resize(ctx context.Context, id cluster.DatasetID, size int64) error {
	head, err := d.headOf(ctx, id)
	if err != nil || head.refquota == size {
		return err
	}
	return d.set(ctx, head.name, "refquota", quota(size))
}
