// SPDX-License-Identifier: Apache-2.0

// Package zfs keeps datasets as filesystems of a ZFS pool.
package zfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Config says where the datasets are.
type Config struct {
	Pool      string // a pool, or a filesystem in one, which is made when it is absent; "flocker" when empty
	MountRoot string // where heads are mounted while they are made; backend.DefaultMountRoot when empty
	// Profiles name properties of datasets that are made; they are checked, against ProfileOptions.
	Profiles backend.Profiles
}

// DefaultPool is the original's.
const DefaultPool = "flocker"

// lockDir holds a file for each parent that a process of this machine has.
const lockDir = "/run/flocker"

// Driver is a node's part of a ZFS pool. One process at a time has it.
type Driver struct {
	parent    string
	owner     string // the mark of parent, and the first part of the names below it
	mountRoot string
	profiles  backend.Profiles
	limit     time.Duration
	altroot   string // what the pool's mount points are below; empty where it is the root
	can       abilities
	log       *slog.Logger
	lock      *os.File
	mounting  sync.Mutex // held while zfs mounts

	mu    sync.Mutex
	lines map[string]*state
}

// state is what this process knows of a line beside the pool.
type state struct {
	settled   bool   // nothing of it is in the log only
	probing   bool   // mounted for a look, not for use
	receiving bool   // something is received into it
	dev       uint64 // device number of its last mount
	anchor    *mount.Anchor
	asked     *question
}

var _ interface {
	backend.Driver
	backend.Space
	backend.Mounter
	backend.Snapshotter
	backend.Replicator
	backend.Resizer
} = (*Driver)(nil)

var _ interface {
	backend.Profiler
	backend.Reverter
	backend.Resumer
} = (*Driver)(nil)

// Open finds the parent filesystem or makes it, and removes what an earlier process left half done.
func Open(ctx context.Context, config Config, log *slog.Logger) (*Driver, error) {
	if config.Pool == "" {
		config.Pool = DefaultPool
	}
	if config.MountRoot == "" {
		config.MountRoot = backend.DefaultMountRoot
	}
	d := &Driver{
		parent: config.Pool, mountRoot: filepath.Clean(config.MountRoot), profiles: config.Profiles,
		limit: limit, log: log, lines: map[string]*state{},
	}
	if err := d.enter(ctx); err != nil {
		return nil, fmt.Errorf("zfs: %w", err)
	}
	if err := d.recover(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("zfs: clean %s: %w", d.parent, err), d.lock.Close())
	}
	if err := d.tryProfiles(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("zfs: %w", err), d.lock.Close())
	}
	return d, nil
}

// Close gives the parent free. What is mounted stays so.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, s := range d.lines {
		if s.anchor != nil {
			errs = append(errs, s.anchor.Close())
			s.anchor = nil
		}
	}
	return errors.Join(append(errs, d.lock.Close())...)
}

// Space is what the parent filesystem may still take, and that with what it has.
func (d *Driver) Space(ctx context.Context) (free, total int64, err error) {
	free, err = d.number(ctx, "available", d.parent)
	if err != nil {
		return 0, 0, err
	}
	used, err := d.number(ctx, "used", d.parent)
	return free, free + used, err
}

// hold takes the parent for this process.
func (d *Driver) hold() error {
	if err := os.MkdirAll(lockDir, 0o700); err != nil {
		return fmt.Errorf("lock %s: %w", d.parent, err)
	}
	lock, err := os.OpenFile(filepath.Join(lockDir, "zfs-"+d.owner), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.parent, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%s: %w: another process has it", d.parent, backend.ErrBusy), lock.Close())
	}
	d.lock = lock
	return nil
}

// know changes or reads what this process knows of a line.
func (d *Driver) know(line string, f func(*state)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.lines[line]
	if s == nil {
		s = new(state)
		d.lines[line] = s
	}
	f(s)
}

func (d *Driver) known(line string) (s state) {
	d.know(line, func(k *state) { s = *k })
	return s
}

func (d *Driver) forget(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lines, line)
}

// usualPoint is where a head is expected to be mounted; Mount knows better.
func (d *Driver) usualPoint(id cluster.DatasetID) string {
	return filepath.Join(d.mountRoot, string(id))
}
