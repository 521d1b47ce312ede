// SPDX-License-Identifier: Apache-2.0

// Package block makes a storage driver of any store of network volumes: it formats, mounts and marks what the store
// attaches.
package block

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Config says how volumes are used.
type Config struct {
	Filesystem string // of new volumes: "ext4", which is the default, "xfs" or "btrfs"
	// Profiles are the operator's; of their options block uses its own ProfileOptions, the rest are the store's.
	Profiles backend.Profiles
	// Around is what is done around each call of the store, the outermost first; each that passes them all is counted.
	Around []backend.Around
	Log    *slog.Logger
}

// Driver is a node's part of a store of network volumes. It asks the store only when it is told to do something, or does
// not know an answer: what it lists is the store's last listing and what it changed itself since, and what the kernel has
// attached and mounted now.
type Driver struct {
	store   backend.Volumes
	config  Config
	machine string
	count   counts
	listing *listing

	mu   sync.Mutex
	held map[cluster.DatasetID]*held // mounted on no path yet
	seen map[cluster.DatasetID]head  // what is known of attached volumes' heads
}

// New makes the driver of a node. The store has to be able to name this machine.
func New(ctx context.Context, store backend.Volumes, config Config) (*Driver, error) {
	if config.Filesystem == "" {
		config.Filesystem = "ext4"
	}
	if !slices.Contains(mount.Formats(), config.Filesystem) {
		return nil, fmt.Errorf("filesystem %q: %w: it is none of %v", config.Filesystem, cluster.ErrInvalid, mount.Formats())
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	d := &Driver{config: config, count: counts{log: config.Log}, held: map[cluster.DatasetID]*held{}, seen: map[cluster.DatasetID]head{}}
	d.store = backend.WrapVolumes(store, slices.Concat([]backend.Around{d.notice}, config.Around, []backend.Around{d.count.around})...)
	d.listing = newListing(d.store, config.Log)
	machine, err := d.store.Machine(ctx)
	if err != nil {
		return nil, fmt.Errorf("this machine's name in the store: %w", err)
	}
	d.machine = machine
	return d, nil
}

// Close lets go of what is mounted on no path. What is mounted or attached stays so.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for id, h := range d.held {
		errs = append(errs, h.fs.Close())
		delete(d.held, id)
	}
	return errors.Join(errs...)
}

// Create makes, attaches and formats a volume.
func (d *Driver) Create(ctx context.Context, spec backend.Spec) error {
	if err := d.listing.mayMake(ctx, spec.Dataset); err != nil {
		return err
	}
	v, err := d.store.Create(ctx, spec)
	if err != nil {
		return err
	}
	d.listing.put(v)
	device, err := d.attach(ctx, v)
	if err != nil {
		return err
	}
	return d.prepare(ctx, v, device, &spec)
}

// Destroy detaches a volume that is attached here and not in use, and removes it.
func (d *Driver) Destroy(ctx context.Context, id cluster.DatasetID) error {
	v, err := d.listing.find(ctx, id)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.detach(ctx, v); err != nil {
		return err
	}
	if err := d.store.Destroy(ctx, v); err != nil {
		return err
	}
	d.listing.drop(id)
	return nil
}

// SetEpoch writes the epoch on the filesystem's root. Where that is not mounted yet it is mounted on no path, and kept so
// for Mount to put it on one: the two are inside the gap of a move.
func (d *Driver) SetEpoch(ctx context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	if scratch != "" {
		return fmt.Errorf("mark a head as scratch: %w", backend.ErrUnsupported)
	}
	if _, err := d.listing.find(ctx, id); err != nil {
		return err
	}
	return d.within(ctx, id, func(at place) error {
		written, err := raiseEpoch(at.root, id, epoch)
		if err == nil {
			d.note(id, head{device: at.device, epoch: written})
		}
		return err
	})
}

// Stats are the calls of the store since the driver was made, by method.
func (d *Driver) Stats() []backend.OpStats { return d.count.stats() }

// Refresh lets the next listing ask the store.
func (d *Driver) Refresh() { d.listing.expire() }

// Reach lists the store now.
func (d *Driver) Reach(ctx context.Context) error { return d.listing.refresh(ctx) }

// notice lets the next listing ask the store after a call of it failed, unless the volume is only in use.
func (d *Driver) notice(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
	err := do(ctx)
	if err != nil && call.Op != "list" && !errors.Is(err, backend.ErrBusy) {
		d.listing.expire()
	}
	return err
}
