// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

var datasetForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// List reads the pool's folders, attributes and quotas.
func (d *Driver) List(ctx context.Context) ([]cluster.Copy, error) {
	entries, err := os.ReadDir(d.dir(datasetsDir))
	if err != nil {
		return nil, fmt.Errorf("list the pool: %w", err)
	}
	around, err := d.surroundings()
	if err != nil {
		return nil, err
	}
	var copies []cluster.Copy
	for _, e := range entries {
		if !datasetForm.MatchString(e.Name()) {
			continue // foreign
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := d.read(cluster.DatasetID(e.Name()), around)
		switch {
		case errors.Is(err, backend.ErrNotFound), errors.Is(err, os.ErrNotExist): // destroyed meanwhile
		case err != nil:
			return nil, fmt.Errorf("list dataset %s: %w", e.Name(), err)
		case c.Head || len(c.Snapshots) > 0:
			copies = append(copies, c)
		}
	}
	d.usage.keep(around.heads)
	return copies, nil
}

// surroundings are what a volume's description needs beside the volume.
type surroundings struct {
	mounts []mount.Entry
	groups map[uint64]qgroup
	counts bool // quotas are on
	heads  map[uuid]bool
}

func (d *Driver) surroundings() (*surroundings, error) {
	mounts, err := mount.Table()
	if err != nil {
		return nil, err
	}
	groups, on, err := d.qgroups()
	if err != nil {
		return nil, err
	}
	return &surroundings{mounts: mounts, groups: groups, counts: on, heads: map[uuid]bool{}}, nil
}

// look describes one volume; one that is not there is empty.
func (d *Driver) look(id cluster.DatasetID) (cluster.Copy, error) {
	around, err := d.surroundings()
	if err != nil {
		return cluster.Copy{}, err
	}
	c, err := d.read(id, around)
	if errors.Is(err, os.ErrNotExist) {
		return cluster.Copy{Dataset: id}, nil
	}
	return c, err
}

func (d *Driver) read(id cluster.DatasetID, around *surroundings) (cluster.Copy, error) {
	c := cluster.Copy{Dataset: id}
	entries, err := os.ReadDir(d.volume(id))
	if err != nil {
		return c, fmt.Errorf("read the volume: %w", err)
	}
	var newest *subvolInfo
	for _, e := range entries {
		lineage, err := backend.ParseLineage(e.Name())
		if err != nil {
			continue // the head, or foreign
		}
		info, err := subvolumeInfo(d.snapshot(id, e.Name()))
		if err != nil {
			return c, err
		}
		if !info.readOnly() {
			continue // foreign
		}
		c.Snapshots = append(c.Snapshots, describe(e.Name(), lineage, info, around.groups[info.treeID]))
		newest = info // names sort as lineages do
	}
	backend.SortSnapshots(c.Snapshots)
	return c, d.readHead(&c, newest, around)
}

func (d *Driver) readHead(c *cluster.Copy, newest *subvolInfo, around *surroundings) error {
	is, err := isSubvolume(d.head(c.Dataset))
	if err != nil || !is {
		return err
	}
	r, err := readRecord(d.volume(c.Dataset))
	if err != nil {
		return err
	}
	c.Head, c.Epoch, c.Scratch, c.Size = true, r.Epoch, r.Scratch, r.Size
	place := d.headPlace(c.Dataset)
	for _, m := range around.mounts {
		if m.Dev == place.Dev && m.Root == place.Root {
			c.Mounted = m.Point
		}
	}
	return within(d.head(c.Dataset), func(fd int) error {
		info := new(subvolInfo)
		if err := ioctl(fd, iocSubvolInfo, info); err != nil {
			return fmt.Errorf("information of the head: %w", err)
		}
		around.heads[info.uuid] = true
		if c.Divergent, err = diverged(fd, info, newest); err != nil {
			return err
		}
		if around.counts {
			c.Used = around.groups[info.treeID].referenced
			return nil
		}
		c.Used, err = d.usage.of(fd, info)
		return err
	})
}

// diverged says whether a head has writes beyond a snapshot, nil for none. The two are related when one is a snapshot of
// the other; then only inodes changed after that count.
func diverged(fd int, head, snapshot *subvolInfo) (bool, error) {
	switch {
	case snapshot == nil:
		return true, nil
	case snapshot.parentUUID == head.uuid:
		return changedSince(fd, snapshot.otransid)
	case head.parentUUID == snapshot.uuid:
		return changedSince(fd, head.otransid)
	}
	return true, nil
}

func describe(name string, lineage backend.Lineage, info *subvolInfo, group qgroup) cluster.Snapshot {
	return cluster.Snapshot{
		Name: name, Epoch: lineage.Epoch, Serial: lineage.Serial,
		ID:      info.content().String(),
		Created: info.taken(),
		Used:    group.exclusive,
	}
}

// stat is the device number that files of a subvolume show.
func subvolumeDevice(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", path, sentinel(err))
	}
	return st.Dev, nil
}
