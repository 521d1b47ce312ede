// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// List reads the properties of everything below the parent, and the mount table.
func (d *Driver) List(ctx context.Context) ([]cluster.Copy, error) {
	t, err := d.read(ctx)
	if err != nil {
		return nil, err
	}
	table, err := mount.Table()
	if err != nil {
		return nil, err
	}
	var copies []cluster.Copy
	seen := map[cluster.DatasetID]bool{}
	for _, l := range t.lines {
		if seen[l.dataset] {
			continue
		}
		seen[l.dataset] = true
		c, err := d.describe(ctx, l.dataset, t.of(l.dataset), table)
		if err != nil {
			return nil, err
		}
		if c.Head || len(c.Snapshots) > 0 {
			copies = append(copies, c)
		}
	}
	return copies, nil
}

func (d *Driver) describe(ctx context.Context, id cluster.DatasetID, ls lines, table []mount.Entry) (cluster.Copy, error) {
	c := cluster.Copy{Dataset: id}
	for _, l := range ls {
		if l.ending == endingWhole {
			continue
		}
		for _, s := range l.snapshots {
			if s.whole {
				c.Snapshots = append(c.Snapshots, s.describe())
			}
		}
	}
	backend.SortSnapshots(c.Snapshots)
	head := ls.head()
	if head == nil {
		return c, nil
	}
	c.Head, c.Epoch, c.Scratch = true, head.head.Epoch, head.head.Scratch
	c.Size, c.Used = head.refquota, head.referenced
	if at, ok := mounted(table, head); ok && !d.known(head.name).probing {
		dead, err := d.dead(ctx, head.name, at.Point)
		if err != nil {
			return c, fmt.Errorf("dataset %s: %w", id, err)
		}
		if !dead {
			c.Mounted = at.Point
		}
	}
	c.Divergent = d.diverged(ls, c)
	return c, nil
}

// diverged says whether the head has writes beyond the newest snapshot, as far as transaction groups have brought it. One
// whose log may have more counts as such.
func (d *Driver) diverged(ls lines, c cluster.Copy) bool {
	head := ls.head()
	if len(c.Snapshots) == 0 || head.written != 0 || c.Mounted == "" && !d.known(head.name).settled {
		return true
	}
	newest := c.Snapshots[len(c.Snapshots)-1].Name
	if last, ok := head.last(); ok {
		return last.name != newest
	}
	l, _, ok := ls.find(newest)
	return !ok || head.origin != l.at(newest)
}

// mounted finds the mount of a whole line: where it belongs, or anywhere.
func mounted(table []mount.Entry, l *line) (mount.Entry, bool) {
	var found mount.Entry
	for _, e := range table {
		if ofLine(e, l.name) && found.Point != l.mountpoint {
			found = e
		}
	}
	return found, found.Point != ""
}

// ofLine says whether a mount is of a whole filesystem. The kernel's ZFS says zfs, zfs-fuse fuse.zfs, and old kernels fuse.
func ofLine(e mount.Entry, name string) bool {
	return e.Source == name && e.Root == "/" && (e.Type == "zfs" || e.Type == "fuse.zfs" || e.Type == "fuse")
}
