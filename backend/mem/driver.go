// SPDX-License-Identifier: Apache-2.0

// Package mem keeps datasets in memory. It is the twin of the peer-to-peer back ends in tests, and knows for certain
// what they have to prove: who can write.
package mem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Driver is one node's storage.
type Driver struct {
	total    int64
	profiles backend.Profiles

	mu      sync.Mutex
	volumes map[cluster.DatasetID]*volume
	// partials are what is half received, by dataset.
	partials map[cluster.DatasetID]partial
}

type volume struct {
	profile   string // it was made or received with
	head      *head
	snapshots map[string]snapshot
}

type head struct {
	backend.Spec
	scratch cluster.MoveID
	files   map[string][]byte // a content is never changed in place
	mounted string
	holds   map[*hold]bool
	base    string // name of the snapshot that it is equal to; empty after a write
}

type snapshot struct {
	cluster.Snapshot
	files map[string][]byte
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

// New makes an empty pool of a size in bytes.
func New(total int64) *Driver {
	return &Driver{total: total, volumes: map[cluster.DatasetID]*volume{}, partials: map[cluster.DatasetID]partial{}}
}

// Offer names the profiles that there are, which differ in nothing but their names.
func (d *Driver) Offer(profiles backend.Profiles) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.profiles = profiles
}

// Profiles are those that were offered.
func (d *Driver) Profiles() []cluster.Profile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.profiles.List()
}

// Profile is what a copy was made or received with.
func (d *Driver) Profile(id cluster.DatasetID) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[id]
	if v == nil {
		return "", backend.ErrNotFound
	}
	return v.profile, nil
}

// Create makes an empty head.
func (d *Driver) Create(_ context.Context, spec backend.Spec) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch v := d.volumes[spec.Dataset]; {
	case v == nil:
		d.volumes[spec.Dataset] = &volume{profile: spec.Profile, head: newHead(spec, "", nil, ""), snapshots: map[string]snapshot{}}
		return nil
	case v.head == nil:
		return fmt.Errorf("%w: as %d snapshots without a head", backend.ErrExists, len(v.snapshots))
	case v.head.Size != spec.Size:
		return fmt.Errorf("%w: with a size of %d bytes, not %d", backend.ErrExists, v.head.Size, spec.Size)
	}
	return nil
}

func newHead(spec backend.Spec, scratch cluster.MoveID, files map[string][]byte, base string) *head {
	return &head{Spec: spec, scratch: scratch, files: maps.Clone(files), holds: map[*hold]bool{}, base: base}
}

// Destroy removes the volume.
func (d *Driver) Destroy(_ context.Context, id cluster.DatasetID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.volumes[id]; v != nil {
		if err := v.head.unused(); err != nil {
			return err
		}
	}
	delete(d.volumes, id)
	delete(d.partials, id)
	return nil
}

// List describes every volume, in the order of their ids.
func (d *Driver) List(context.Context) ([]cluster.Copy, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var copies []cluster.Copy
	for id, v := range d.volumes {
		copies = append(copies, v.describe(id))
	}
	slices.SortFunc(copies, func(a, b cluster.Copy) int { return cmp.Compare(a.Dataset, b.Dataset) })
	return copies, nil
}

func (v *volume) describe(id cluster.DatasetID) cluster.Copy {
	c := cluster.Copy{Dataset: id}
	for _, s := range v.snapshots {
		c.Snapshots = append(c.Snapshots, s.Snapshot)
	}
	backend.SortSnapshots(c.Snapshots)
	if v.head == nil {
		return c
	}
	newest := ""
	if n := len(c.Snapshots); n > 0 {
		newest = c.Snapshots[n-1].Name
	}
	c.Head, c.Epoch, c.Scratch, c.Size = true, v.head.Epoch, v.head.scratch, v.head.Size
	c.Mounted, c.Used = v.head.mounted, size(v.head.files)
	c.Divergent = newest == "" || v.head.base != newest
	c.InUse = v.head.user()
	return c
}

func size(files map[string][]byte) (total int64) {
	for _, data := range files {
		total += int64(len(data))
	}
	return total
}

// SetEpoch writes the epoch and the scratch mark.
func (d *Driver) SetEpoch(_ context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return err
	}
	if epoch < h.Epoch {
		return fmt.Errorf("epoch %d is older than %d on the data: %w", epoch, h.Epoch, backend.ErrChanged)
	}
	h.Epoch, h.scratch = epoch, scratch
	return nil
}

// Space counts every content once.
func (d *Driver) Space(context.Context) (free, total int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free(), d.total, nil
}

func (d *Driver) free() int64 {
	seen, used := map[*byte]bool{}, int64(0)
	count := func(files map[string][]byte) {
		for _, data := range files {
			if len(data) > 0 && !seen[&data[0]] {
				seen[&data[0]] = true
				used += int64(len(data))
			}
		}
	}
	for _, v := range d.volumes {
		if v.head != nil {
			count(v.head.files)
		}
		for _, s := range v.snapshots {
			count(s.files)
		}
	}
	return max(d.total-used, 0)
}

// Resize sets the limit.
func (d *Driver) Resize(_ context.Context, id cluster.DatasetID, limit int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return err
	}
	if used := size(h.files); limit > 0 && used > limit {
		return fmt.Errorf("%w: %d bytes are in use", backend.ErrNoSpace, used)
	}
	h.Size = limit
	return nil
}

// head is that of a volume, with the lock held.
func (d *Driver) head(id cluster.DatasetID) (*head, error) {
	if v := d.volumes[id]; v != nil && v.head != nil {
		return v.head, nil
	}
	return nil, fmt.Errorf("head: %w", backend.ErrNotFound)
}

// unused is ErrBusy with the names of those who can write; no head is used by no one.
func (h *head) unused() error {
	if h == nil {
		return nil
	}
	var by []string
	if h.mounted != "" {
		by = append(by, "a mount at "+h.mounted)
	}
	if user := h.user(); user != "" {
		by = append(by, user)
	}
	if len(by) == 0 {
		return nil
	}
	return fmt.Errorf("%w by %s", backend.ErrBusy, strings.Join(by, ", "))
}

func (h *head) user() string {
	var names []string
	for u := range h.holds {
		names = append(names, u.who)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

var errNotMounted = errors.New("the head is not mounted")
