// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Revert makes a line that is the snapshot the head, in one step: its record is of a later turn than that of the former head, which then is
// only its snapshots. A head of which the snapshot is the newest is rolled back, which is one step of ZFS.
func (d *Driver) Revert(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	ls, err := d.lookEnded(ctx, id)
	if err != nil {
		return err
	}
	head := ls.head()
	if head == nil {
		return fmt.Errorf("head: %w", backend.ErrNotFound)
	}
	of, _, ok := ls.find(snapshot)
	if !ok {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrNotFound)
	}
	if err := d.removable(ctx, head); err != nil {
		return err
	}
	if last, _ := of.last(); of == head && last.name == snapshot {
		return d.rollback(ctx, head)
	}
	next := *head.head
	next.Turn++
	if err := d.succeed(ctx, of, snapshot, head.refquota, next); err != nil {
		return err
	}
	_, err = d.lookEnded(ctx, id)
	return err
}

// succeed makes a snapshot the head: in place where its line is nothing more, else in a line of its own.
func (d *Driver) succeed(ctx context.Context, of *line, snapshot string, size int64, head record) error {
	if of.rests(snapshot) && d.claim(of.name) {
		defer d.unclaim(of.name)
		return d.cloneInPlace(ctx, of, size, head)
	}
	_, err := d.branch(ctx, of, snapshot, &head, size)
	return err
}

// lookEnded finishes what was begun with heads that are none any more, and reads the dataset's lines.
func (d *Driver) lookEnded(ctx context.Context, id cluster.DatasetID) (lines, error) {
	ls, err := d.look(ctx, id)
	if err != nil {
		return nil, err
	}
	ended := false
	for _, l := range ls {
		if l.ending != endingHead {
			continue
		}
		if err := d.dropHead(ctx, l); err != nil {
			return nil, fmt.Errorf("give up the former head %s: %w", l.name, err)
		}
		ended = true
	}
	if !ended {
		return ls, nil
	}
	return d.look(ctx, id)
}
