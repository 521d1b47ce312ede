// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// DefaultMountRoot is where datasets appear, as in the original.
const DefaultMountRoot = "/flocker"

// sizeUnit is what sizes are rounded up to.
const sizeUnit = 1 << 20

// Options are what a Pool is made with.
type Options struct {
	Name      string // of the back end on this node
	Kind      string // the driver's, where that is another
	MountRoot string // where datasets are mounted; DefaultMountRoot when empty
	Log       *slog.Logger
}

// Pool is a node's storage. It checks and rounds what drivers are given, lets one change of a dataset happen at a
// time, names the dataset in every error, and times every call. It keeps no state of the volumes.
type Pool struct {
	driver  Driver
	options Options
	changes locks // one change of a dataset at a time
	streams locks // one receive of a dataset at a time
	calls   calls

	look, reach, expect turns // each one at a time, and not waited for for ever
	mu                  sync.Mutex
	known               cluster.Storage // by the last look that succeeded
}

// NewPool makes the storage of a node from a driver.
func NewPool(driver Driver, options Options) *Pool {
	if options.MountRoot == "" {
		options.MountRoot = DefaultMountRoot
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	return &Pool{driver: driver, options: options, expect: turns{within: expectWithin}}
}

// CapabilitiesOf says what a driver can do.
func CapabilitiesOf(driver Driver) cluster.Capabilities {
	_, snapshots := as[Snapshotter](driver)
	_, reverts := as[Reverter](driver)
	_, replicates := as[Replicator](driver)
	_, resizes := as[Resizer](driver)
	can := cluster.Capabilities{Snapshots: snapshots, Reverts: reverts, Replicates: replicates, Resizes: resizes}
	if attacher, ok := as[Attacher](driver); ok {
		can = attacher.Abilities()
		can.Attaches = true
	}
	return can
}

// Wrapper is a driver that decorates another; it has every optional method and is asked for those that the inner has.
type Wrapper interface{ Unwrap() Driver }

// as finds an optional ability. Whether it is there the innermost driver says; the outermost that has it is used.
func as[T any](driver Driver) (T, bool) {
	inner := driver
	for {
		wrapper, ok := inner.(Wrapper)
		if !ok {
			break
		}
		inner = wrapper.Unwrap()
	}
	ability, ok := inner.(T)
	if outer, is := driver.(T); ok && is {
		ability = outer
	}
	return ability, ok
}

// MountRoot is the folder in which datasets are mounted.
func (p *Pool) MountRoot() string { return p.options.MountRoot }

// Capabilities says what the back end can do. Of network storage that may be known only once its store has been listed.
func (p *Pool) Capabilities() cluster.Capabilities { return CapabilitiesOf(p.driver) }

// MountPath is where the head of a dataset is mounted when it is.
func (p *Pool) MountPath(id cluster.DatasetID) string {
	return filepath.Join(p.options.MountRoot, string(id))
}

// Observe reads what is there, or says why that is not known. What can be said of the storage when reading fails is in it, with the
// reason in Storage.Error. One look is under way at a time; one that takes too long is given up, and until it has come back none is begun.
func (p *Pool) Observe(ctx context.Context) (cluster.Storage, map[cluster.DatasetID]cluster.Copy, error) {
	type seen struct {
		storage cluster.Storage
		copies  map[cluster.DatasetID]cluster.Copy
	}
	got, err := inTurn(ctx, &p.look, "look", func(ctx context.Context) (seen, error) {
		storage, copies, err := p.observe(ctx)
		return seen{storage, copies}, err
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.known = got.storage
		return got.storage, got.copies, nil
	case got.storage.Backend == "": // it did not come back
		got.storage = p.known
		got.storage.Backend, got.storage.Kind = p.options.Name, p.options.Kind
	}
	got.storage.Error = err.Error()
	return got.storage, nil, err
}

func (p *Pool) observe(ctx context.Context) (cluster.Storage, map[cluster.DatasetID]cluster.Copy, error) {
	storage := cluster.Storage{Backend: p.options.Name, Kind: p.options.Kind}
	copies := map[cluster.DatasetID]cluster.Copy{}
	err := p.do(ctx, call{op: "list"}, func() error {
		list, err := p.driver.List(ctx)
		for _, c := range list {
			c.Backend = p.options.Name
			copies[c.Dataset] = c
		}
		return err
	})
	storage.Profiles, storage.Capabilities = p.profiles(), p.Capabilities() // which a driver that is opened by a look has after it
	if attacher, ok := as[Attacher](p.driver); ok {
		storage.Machine = attacher.Machine()
	}
	if space, ok := as[Space](p.driver); ok && err == nil {
		err = p.do(ctx, call{op: "space"}, func() error {
			storage.Free, storage.Total, err = space.Space(ctx)
			return err
		})
	}
	return storage, copies, err
}

// Create makes an empty dataset of at least the size asked for, of a profile that the back end has.
func (p *Pool) Create(ctx context.Context, spec Spec) error {
	return p.change(ctx, "create", spec.Dataset, func() (err error) {
		if err := p.mayCreate(spec.Profile); err != nil {
			return err
		}
		if spec.Size, err = round(spec.Size); err != nil {
			return err
		}
		return p.driver.Create(ctx, spec)
	})
}

// Destroy removes a dataset's copy with all its snapshots.
func (p *Pool) Destroy(ctx context.Context, id cluster.DatasetID) error {
	return p.change(ctx, "destroy", id, func() error {
		release, ok := p.streams.try(id)
		if !ok {
			return fmt.Errorf("%w: a snapshot is being received", ErrBusy)
		}
		defer release()
		if err := p.driver.Destroy(ctx, id); err != nil {
			return err
		}
		return p.removePoint(id)
	})
}

// SetEpoch writes the owner's epoch and the scratch mark on the head.
func (p *Pool) SetEpoch(ctx context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	return p.change(ctx, "set-epoch", id, func() error { return p.driver.SetEpoch(ctx, id, epoch, scratch) })
}

// Flush writes out what programs have written to the mounted head, so that its unmount has less to do.
func (p *Pool) Flush(ctx context.Context, id cluster.DatasetID) error {
	return with(ctx, p, "flush", id, func(p Preparer) error { return p.Flush(ctx, id) })
}

// Mount mounts the head and says where.
func (p *Pool) Mount(ctx context.Context, id cluster.DatasetID) (string, error) {
	path := p.MountPath(id)
	err := with(ctx, p, "mount", id, func(m Mounter) error { return m.Mount(ctx, id, path) })
	if err != nil {
		return "", err
	}
	return path, nil
}

// Unmount unmounts the head, or says who uses it.
func (p *Pool) Unmount(ctx context.Context, id cluster.DatasetID) error {
	return with(ctx, p, "unmount", id, func(m Mounter) error { return m.Unmount(ctx, id) })
}

// Released proves that nothing can write to the head any more, or says what cannot be shown.
func (p *Pool) Released(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	return with(ctx, p, "released", id, func(m Mounter) error {
		if err := checkName(snapshot, true); err != nil {
			return err
		}
		return m.Released(ctx, id, snapshot)
	})
}

// Expect makes sure that Observe tells of those of the volumes of network storage that are in their store.
func (p *Pool) Expect(ctx context.Context, ids []cluster.DatasetID) error {
	attacher, ok := as[Attacher](p.driver)
	if !ok {
		return fmt.Errorf("expect volumes: %w", ErrUnsupported)
	}
	_, err := inTurn(ctx, &p.expect, "expect volumes", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, p.do(ctx, call{op: "expect"}, func() error { return attacher.Expect(ctx, ids) })
	})
	return err
}

// Attach makes a volume of network storage appear on this node.
func (p *Pool) Attach(ctx context.Context, id cluster.DatasetID) error {
	return with(ctx, p, "attach", id, func(a Attacher) error { return a.Attach(ctx, id) })
}

// Ready does ahead what attaching a volume of network storage begins with.
func (p *Pool) Ready(ctx context.Context, id cluster.DatasetID) error {
	return with(ctx, p, "ready", id, func(p Preparer) error { return p.Ready(ctx, id) })
}

// Unready takes back what Ready did, unless the volume is attached by now.
func (p *Pool) Unready(ctx context.Context, id cluster.DatasetID) error {
	return with(ctx, p, "unready", id, func(p Preparer) error { return p.Unready(ctx, id) })
}

// Detach confirms that this node can no longer reach a volume of network storage.
func (p *Pool) Detach(ctx context.Context, id cluster.DatasetID) error {
	return with(ctx, p, "detach", id, func(a Attacher) error { return a.Detach(ctx, id) })
}

// Evict keeps another machine, by the store's name, from a volume of network storage.
func (p *Pool) Evict(ctx context.Context, id cluster.DatasetID, machine string) error {
	return with(ctx, p, "evict", id, func(a Attacher) error { return a.Evict(ctx, id, machine) })
}

// DropHead removes the head and keeps the snapshots.
func (p *Pool) DropHead(ctx context.Context, id cluster.DatasetID) error {
	return with(ctx, p, "drop-head", id, func(s Snapshotter) error {
		if err := s.DropHead(ctx, id); err != nil {
			return err
		}
		return p.removePoint(id)
	})
}

// Refresh lets the next Observe ask the store of network storage what there is, rather than rely on its last listing.
func (p *Pool) Refresh() {
	if store, ok := as[interface{ Refresh() }](p.driver); ok {
		store.Refresh()
	}
}

// Reach asks the store of network storage itself, whatever is known from its last listing; other storage is looked at.
func (p *Pool) Reach(ctx context.Context) error {
	if store, ok := as[interface {
		Reach(ctx context.Context) error
	}](p.driver); ok {
		_, err := inTurn(ctx, &p.reach, "reach", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, p.do(ctx, call{op: "reach"}, func() error { return store.Reach(ctx) })
		})
		return err
	}
	_, _, err := p.Observe(ctx)
	return err
}

// Resize changes the limit of a dataset.
func (p *Pool) Resize(ctx context.Context, id cluster.DatasetID, size int64) error {
	return with(ctx, p, "resize", id, func(r Resizer) (err error) {
		if size, err = round(size); err != nil {
			return err
		}
		return r.Resize(ctx, id, size)
	})
}

// Close ends what the driver does in the background, after what is under way where that ends soon. What is mounted stays mounted.
func (p *Pool) Close() error {
	for _, t := range []*turns{&p.look, &p.reach, &p.expect} {
		t.settle(closeWithin)
	}
	return closeDriver(p.driver)
}

func (p *Pool) removePoint(id cluster.DatasetID) error {
	if _, ok := as[Mounter](p.driver); !ok {
		return nil
	}
	return mount.RemovePoint(p.MountPath(id))
}

// change runs one change of one dataset, alone.
func (p *Pool) change(ctx context.Context, op string, id cluster.DatasetID, f func() error) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	release, err := p.changes.acquire(ctx, id)
	if err != nil {
		return fmt.Errorf("%s dataset %s: wait for its turn: %w", op, id, err)
	}
	defer release()
	return p.do(ctx, call{op: op, id: id}, f)
}

// with is change with an optional ability of the driver.
func with[T any](ctx context.Context, p *Pool, op string, id cluster.DatasetID, f func(T) error) error {
	ability, ok := as[T](p.driver)
	if !ok {
		return fmt.Errorf("%s dataset %s: %w", op, id, ErrUnsupported)
	}
	return p.change(ctx, op, id, func() error { return f(ability) })
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// checkID lets only UUIDs through, so that an id is never a path.
func checkID(id cluster.DatasetID) error {
	if !uuidForm.MatchString(string(id)) {
		return fmt.Errorf("dataset id %q is not a UUID: %w", id, cluster.ErrInvalid)
	}
	return nil
}

func round(size int64) (int64, error) {
	switch {
	case size < 0:
		return 0, fmt.Errorf("size %d is negative: %w", size, cluster.ErrInvalid)
	case size > 1<<62:
		return 0, fmt.Errorf("size %d is too large: %w", size, cluster.ErrInvalid)
	}
	return (size + sizeUnit - 1) / sizeUnit * sizeUnit, nil
}

func checkName(snapshot string, orNone bool) error {
	if snapshot == "" && orNone {
		return nil
	}
	if _, err := ParseLineage(snapshot); err != nil {
		return errors.Join(err, cluster.ErrInvalid)
	}
	return nil
}
