// SPDX-License-Identifier: Apache-2.0

// Package btrfs keeps datasets as subvolumes of a btrfs filesystem.
package btrfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Config says where the pool is. Sizes are in bytes.
type Config struct {
	Path string // a folder of an existing btrfs filesystem; then the rest does not count

	File    string // the pool's file, made when it is absent
	Mount   string // where the pool is mounted
	Initial int64  // size of a new pool
	Limit   int64  // largest size of the file; 0: only Reserve limits it
	Reserve int64  // bytes that the file leaves free on the filesystem below

	Profiles backend.Profiles // wherever the pool is; checked, against ProfileOptions
}

// Defaults fills what is not given.
func (c Config) Defaults() Config {
	set := func(s *string, to string) {
		if *s == "" {
			*s = to
		}
	}
	set(&c.File, "/var/lib/flocker/pool.img")
	set(&c.Mount, "/var/lib/flocker/pool")
	if c.Initial == 0 {
		c.Initial = 1 << 30
	}
	if c.Reserve == 0 {
		c.Reserve = 1 << 30
	}
	if c.Limit > 0 {
		c.Initial = min(c.Initial, c.Limit)
	}
	return c
}

// The layout below the pool's root. Everything that does not look like this is foreign and left alone.
const (
	poolDir     = "flocker"
	datasetsDir = "datasets" // <dataset id>/head and <dataset id>/<snapshot>
	incomingDir = "incoming" // <random>/<snapshot>, while it is received
	trashDir    = "trash"    // <random>, while it is destroyed
	headName    = "head"
	newName     = "new" // a head while it is made
)

// Driver is a node's btrfs pool. One process at a time has it.
type Driver struct {
	config Config
	log    *slog.Logger
	root   string      // <pool>/flocker
	fsid   string      // the filesystem's UUID
	place  mount.Place // of root
	file   *poolFile   // nil for an existing filesystem
	lock   *os.File

	usage   usage
	figures figures

	growing  sync.Mutex
	quota    sync.Mutex
	sends    sync.WaitGroup
	sweeper  *sweeper
	stop     context.CancelFunc
	watching sync.WaitGroup
}

var _ interface {
	backend.Driver
	backend.Space
	backend.Mounter
	backend.Snapshotter
	backend.Replicator
	backend.Resizer
} = (*Driver)(nil)

var _ backend.Reverter = (*Driver)(nil)

// Open makes or finds the pool, and removes what an earlier process left half done.
func Open(ctx context.Context, config Config, log *slog.Logger) (*Driver, error) {
	d := &Driver{config: config.Defaults(), log: log, sweeper: newSweeper()}
	base := config.Path
	if base == "" {
		d.file = &poolFile{d.config}
		if err := d.file.open(ctx); err != nil {
			return nil, err
		}
		base = d.config.Mount
	}
	if err := d.enter(base); err != nil {
		return nil, err
	}
	if err := errors.Join(d.recover(ctx), d.tryProfiles()); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.watching.Go(func() { d.sweepUntil(background) })
	if d.file != nil {
		d.watching.Go(func() { d.watch(background) })
	}
	return d, nil
}

// enter makes the layout below the pool's root and takes the pool for this process.
func (d *Driver) enter(base string) error {
	base, err := filepath.EvalSymlinks(base)
	if err != nil {
		return fmt.Errorf("btrfs pool: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(base, &fs); err != nil {
		return fmt.Errorf("btrfs pool %s: %w", base, err)
	}
	if fs.Type != unix.BTRFS_SUPER_MAGIC {
		return fmt.Errorf("btrfs pool %s: it is not on a btrfs filesystem", base)
	}
	d.root = filepath.Join(base, poolDir)
	for _, dir := range []string{d.root, d.dir(datasetsDir), d.dir(incomingDir), d.dir(trashDir)} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("btrfs pool: %w", err)
		}
	}
	if d.fsid, err = filesystemID(d.root); err != nil {
		return fmt.Errorf("btrfs pool %s: %w", base, err)
	}
	if d.place, err = mount.Locate(d.root); err != nil {
		return err
	}
	lock, err := os.OpenFile(d.dir("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("btrfs pool: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("btrfs pool %s: %w: another process has it", base, backend.ErrBusy), lock.Close())
	}
	d.lock = lock
	return nil
}

// Close ends the driver's background work and gives the pool free. What is mounted stays so.
func (d *Driver) Close() error {
	d.stop()
	d.watching.Wait()
	d.sends.Wait()
	return errors.Join(d.figures.close(), d.lock.Close())
}

// Shutdown closes the driver and unmounts the pool that Flocker made; in use is ErrBusy.
func (d *Driver) Shutdown() error {
	if err := d.Close(); err != nil || d.file == nil {
		return err
	}
	if err := mount.Unmount(d.config.Mount); err != nil {
		return busy(err)
	}
	return mount.RemovePoint(d.config.Mount)
}

func (d *Driver) dir(parts ...string) string {
	return filepath.Join(append([]string{d.root}, parts...)...)
}

func (d *Driver) volume(id cluster.DatasetID) string { return d.dir(datasetsDir, string(id)) }

func (d *Driver) head(id cluster.DatasetID) string { return d.dir(datasetsDir, string(id), headName) }

func (d *Driver) snapshot(id cluster.DatasetID, name string) string {
	return d.dir(datasetsDir, string(id), name)
}

// headPlace is where the mount tables of all namespaces show a head.
func (d *Driver) headPlace(id cluster.DatasetID) mount.Place {
	return mount.Place{Dev: d.place.Dev, Root: strings.Join([]string{d.place.Root, datasetsDir, string(id), headName}, "/")}
}

// busy gives the contract's name to what the mount package says.
func busy(err error) error {
	if errors.Is(err, mount.ErrBusy) {
		return fmt.Errorf("%w: %w", backend.ErrBusy, err)
	}
	return err
}
