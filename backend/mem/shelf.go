// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Shelf is network storage in memory without devices: each volume is attached to one machine at most.
type Shelf struct {
	mu      sync.Mutex
	volumes map[cluster.DatasetID]*shelved
}

type shelved struct {
	holder string // a machine; empty is none
	volume *volume
}

// NewShelf makes an empty one.
func NewShelf() *Shelf { return &Shelf{volumes: map[cluster.DatasetID]*shelved{}} }

// Attached is a machine's storage of which the volumes are in a store.
type Attached struct {
	shelf   *Shelf
	machine string
	disk    *Driver // what is attached here
}

var _ interface {
	backend.Driver
	backend.Attacher
	backend.Mounter
	backend.Preparer
} = (*Attached)(nil)

// Machine is the storage of a machine.
func (s *Shelf) Machine(name string) *Attached {
	return &Attached{shelf: s, machine: name, disk: New(1 << 40)}
}

// Disk is what is attached to the machine, for tests to write to and look at.
func (a *Attached) Disk() *Driver { return a.disk }

// Machine is the machine's name.
func (a *Attached) Machine() string { return a.machine }

// Abilities says that the store fences.
func (a *Attached) Abilities() cluster.Capabilities {
	return cluster.Capabilities{Attaches: true, Fences: true}
}

// Expect has nothing to look for: everything is known at all times.
func (a *Attached) Expect(context.Context, []cluster.DatasetID) error { return nil }

// Create makes a volume and attaches it here.
func (a *Attached) Create(ctx context.Context, spec backend.Spec) error {
	a.shelf.mu.Lock()
	if a.shelf.volumes[spec.Dataset] == nil {
		a.shelf.volumes[spec.Dataset] = &shelved{volume: &volume{head: newHead(spec, "", nil, ""), snapshots: map[string]snapshot{}}}
	}
	a.shelf.mu.Unlock()
	return a.Attach(ctx, spec.Dataset)
}

// Attach brings the volume here unless another machine has it.
func (a *Attached) Attach(_ context.Context, id cluster.DatasetID) error {
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	v := a.shelf.volumes[id]
	switch {
	case v == nil:
		return fmt.Errorf("volume of dataset %s: %w", id, backend.ErrNotFound)
	case v.holder != "" && v.holder != a.machine:
		return fmt.Errorf("%w: attached to machine %s", backend.ErrBusy, v.holder)
	}
	v.holder = a.machine
	a.disk.put(id, v.volume)
	return nil
}

// Ready has nothing to do ahead.
func (a *Attached) Ready(context.Context, cluster.DatasetID) error { return nil }

// Unready has nothing to take back.
func (a *Attached) Unready(context.Context, cluster.DatasetID) error { return nil }

// Detach gives it back.
func (a *Attached) Detach(_ context.Context, id cluster.DatasetID) error {
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	v := a.shelf.volumes[id]
	if v == nil || v.holder != a.machine {
		return nil
	}
	if err := a.disk.Destroy(context.Background(), id); err != nil {
		return err
	}
	v.holder = ""
	return nil
}

// Evict takes the volume from a machine, which writes nothing to it from then on.
func (a *Attached) Evict(_ context.Context, id cluster.DatasetID, machine string) error {
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	v := a.shelf.volumes[id]
	if v == nil || v.holder != machine {
		return nil
	}
	old := v.volume
	copied := newHead(old.head.Spec, old.head.scratch, old.head.files, old.head.base)
	v.holder, v.volume = "", &volume{head: copied, snapshots: old.snapshots}
	return nil
}

// Destroy removes a volume that is attached nowhere else.
func (a *Attached) Destroy(ctx context.Context, id cluster.DatasetID) error {
	if err := a.Detach(ctx, id); err != nil {
		return err
	}
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	if v := a.shelf.volumes[id]; v != nil && v.holder != "" {
		return fmt.Errorf("%w: attached to machine %s", backend.ErrBusy, v.holder)
	}
	delete(a.shelf.volumes, id)
	return nil
}

// List describes what is attached here, and what else is in the store.
func (a *Attached) List(ctx context.Context) ([]cluster.Copy, error) {
	copies, err := a.disk.List(ctx)
	if err != nil {
		return nil, err
	}
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	copies = slices.DeleteFunc(copies, func(c cluster.Copy) bool { v := a.shelf.volumes[c.Dataset]; return v == nil || v.holder != a.machine })
	for i := range copies {
		copies[i].Volume, copies[i].Device, copies[i].Divergent = "v-"+string(copies[i].Dataset), "/dev/"+string(copies[i].Dataset), false
	}
	for id, v := range a.shelf.volumes {
		if v.holder != a.machine {
			copies = append(copies, cluster.Copy{Dataset: id, Volume: "v-" + string(id), Holder: v.holder})
		}
	}
	slices.SortFunc(copies, func(a, b cluster.Copy) int { return cmp.Compare(a.Dataset, b.Dataset) })
	return copies, nil
}

// SetEpoch writes the epoch on what is attached.
func (a *Attached) SetEpoch(ctx context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	if scratch != "" {
		return fmt.Errorf("scratch data: %w", backend.ErrUnsupported)
	}
	return a.disk.SetEpoch(ctx, id, epoch, "")
}

// Flush has nothing to write out.
func (a *Attached) Flush(context.Context, cluster.DatasetID) error { return nil }

// Mount mounts what is attached.
func (a *Attached) Mount(ctx context.Context, id cluster.DatasetID, path string) error {
	return a.disk.Mount(ctx, id, path)
}

// Unmount unmounts it.
func (a *Attached) Unmount(ctx context.Context, id cluster.DatasetID) error {
	return a.disk.Unmount(ctx, id)
}

// Released says what is known for certain.
func (a *Attached) Released(ctx context.Context, id cluster.DatasetID, snapshot string) error {
	if snapshot != "" {
		return fmt.Errorf("snapshot %s: %w", snapshot, backend.ErrUnsupported)
	}
	return a.disk.Released(ctx, id, "")
}

// put makes a volume be here.
func (d *Driver) put(id cluster.DatasetID, v *volume) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.volumes[id] = v
}
