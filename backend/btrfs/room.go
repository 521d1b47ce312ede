// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"errors"
	"log/slog"

	"github.com/flocker-project/flocker/backend"
)

// emergencyRoom is what a pool's file may grow by beyond its limit; into the reserve it may grow by half of that. Data can fill a btrfs
// filesystem so far that its metadata has no room for anything, not even to move a dataset away.
const emergencyRoom = 64 << 20

// withRoom does a small change of metadata, and again with more room where there was too little. What was deleted
// before comes back only with a commit.
func (d *Driver) withRoom(change func() error) error {
	err := change()
	if !errors.Is(err, backend.ErrNoSpace) {
		return err
	}
	d.sweepNow()
	if err := commit(d.root); err != nil {
		return err
	}
	if d.file != nil {
		d.growing.Lock()
		added, err := d.file.emergency()
		d.growing.Unlock()
		if err != nil {
			return err
		}
		if added > 0 {
			d.log.Warn("pool is full: grown beyond its limit to keep it usable", slog.String("file", d.config.File), slog.Int64("bytes", added))
		}
	}
	return change()
}
