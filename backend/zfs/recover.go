// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// recover removes what an earlier process left half made, half received, half dropped or half destroyed, and has the logs of heads replayed.
func (d *Driver) recover(ctx context.Context) error {
	t, err := d.read(ctx)
	if err != nil {
		return err
	}
	for _, name := range t.hidden {
		if err := d.scrap(ctx, name); err != nil {
			return err
		}
	}
	if err := d.dropPartials(ctx, t, ""); err != nil {
		return err
	}
	for _, l := range t.lines {
		if err := d.recoverLine(ctx, l); err != nil {
			return err
		}
	}
	if err := d.dispose(ctx, nil); errors.Is(err, backend.ErrBusy) {
		d.log.Warn("left behind until the next start", slog.Any("error", err))
	} else if err != nil {
		return err
	}
	return d.settleAll(ctx)
}

func (d *Driver) recoverLine(ctx context.Context, l *line) error {
	switch l.ending {
	case endingWhole:
		return nil // dispose removes it
	case endingHead:
		return d.dropHead(ctx, l)
	}
	if err := d.dropReceived(ctx, l); err != nil {
		return err
	}
	for _, s := range l.snapshots {
		switch {
		case s.whole && s.holds == 0:
			if err := d.pin(ctx, l.at(s.name)); err != nil {
				return err
			}
		case !s.whole && s.ours() && !strings.HasPrefix(s.name, ownPrefix+"in."):
			if err := d.retire(ctx, l, s); err != nil {
				return err
			}
		}
	}
	if l.head == nil && l.refquota != 0 {
		return d.set(ctx, l.name, "refquota", "none")
	}
	return nil
}

// dropReceived takes a line back to what it was before something was received that has not appeared.
func (d *Driver) dropReceived(ctx context.Context, l *line) error {
	received := slices.IndexFunc(l.snapshots, func(s snapshot) bool { return strings.HasPrefix(s.name, ownPrefix+"in.") })
	if received < 0 || l.head != nil {
		return nil
	}
	if received == 0 {
		return d.dispose(ctx, lines{l}) // it was whole, and is all that there is
	}
	for _, s := range l.snapshots[received:] {
		if !strings.HasPrefix(s.name, ownPrefix+"in.") {
			continue
		}
		if err := d.unpin(ctx, l.at(s.name)); err != nil {
			return err
		}
		if err := absent(d.zfs(ctx, "destroy", l.at(s.name))); err != nil {
			return err
		}
	}
	l.snapshots = slices.DeleteFunc(l.snapshots, func(s snapshot) bool { return strings.HasPrefix(s.name, ownPrefix+"in.") })
	return d.rollback(ctx, l)
}

// settleAll has the logs of all heads replayed that are not mounted. One that cannot be mounted now, such as one whose key is not
// loaded, is tried again before the next snapshot.
func (d *Driver) settleAll(ctx context.Context) error {
	t, err := d.read(ctx)
	if err != nil {
		return err
	}
	table, err := mount.Table()
	if err != nil {
		return err
	}
	for _, l := range t.lines {
		if l.head == nil {
			continue
		}
		if at, on := mounted(table, l); on {
			if dead, err := d.dead(ctx, l.name, at.Point); err != nil {
				return err
			} else if !dead {
				continue
			}
		}
		if err := d.unmountAll(ctx, l.name); err != nil {
			return err
		}
		if err := d.settle(ctx, l); err != nil && !errors.Is(err, backend.ErrBusy) {
			d.log.Warn("the log of a head was not replayed yet", slog.String("dataset", string(l.dataset)), slog.Any("error", err))
		}
	}
	return nil
}
