// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// listingAgain is how long a store is left alone whose listing failed while there is an older one, or lacked what was looked for.
const listingAgain = 10 * time.Second

// listing is what is known of the store's volumes: its last listing and what was changed here since.
type listing struct {
	store backend.Volumes
	log   *slog.Logger
	turn  chan struct{} // holds a value while somebody asks the store

	mu      sync.Mutex
	read    bool      // there was a listing
	expired bool      // the next one who looks asks the store
	failed  time.Time // when a listing failed last
	volumes map[cluster.DatasetID][]backend.Volume
	unseen  map[cluster.DatasetID]bool           // made here, and in no listing yet
	gone    map[cluster.DatasetID]backend.Volume // were in a listing, and are no more
	absent  map[cluster.DatasetID]time.Time      // were looked for then, and were not in the store
	doubted map[cluster.DatasetID]bool           // were attached since they were listed: their snapshots may be others
	changes uint64
	changed map[cluster.DatasetID]uint64 // when it was changed here last, counted in changes
}

func newListing(store backend.Volumes, log *slog.Logger) *listing {
	return &listing{
		store: store, log: log, turn: make(chan struct{}, 1),
		volumes: map[cluster.DatasetID][]backend.Volume{}, unseen: map[cluster.DatasetID]bool{},
		gone: map[cluster.DatasetID]backend.Volume{}, absent: map[cluster.DatasetID]time.Time{}, changed: map[cluster.DatasetID]uint64{},
		doubted: map[cluster.DatasetID]bool{},
	}
}

// all is what is known, as one volume or more for each dataset. The store is asked where nothing is known yet, or what is
// known has expired. If it does not answer then what was known stands.
func (l *listing) all(ctx context.Context) (map[cluster.DatasetID][]backend.Volume, error) {
	if l.due() {
		if err := l.refresh(ctx); err != nil && !l.known() {
			return nil, err
		} else if err != nil {
			l.log.WarnContext(ctx, "store does not list its volumes, the last listing is used", "error", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.volumes), nil
}

func (l *listing) due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.read || l.expired && time.Since(l.failed) > listingAgain
}

func (l *listing) known() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.read
}

// of are the volumes of a dataset, mostly one. The store is asked only where none is known.
func (l *listing) of(ctx context.Context, id cluster.DatasetID) ([]backend.Volume, error) {
	if _, err := l.find(ctx, id); err != nil && !errors.Is(err, backend.ErrExists) {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.volumes[id]), nil
}

// find is the one volume of a dataset. The store is asked only where none is known.
func (l *listing) find(ctx context.Context, id cluster.DatasetID) (backend.Volume, error) {
	v, err := l.one(id)
	if !errors.Is(err, backend.ErrNotFound) {
		return v, err
	}
	if err := l.refresh(ctx); err != nil {
		return v, err
	}
	return l.one(id)
}

// expect asks the store where one of the volumes is not known and was not looked for lately: a store may list what it has late.
func (l *listing) expect(ctx context.Context, ids []cluster.DatasetID) error {
	news := func(id cluster.DatasetID) bool {
		return len(l.volumes[id]) == 0 && time.Since(l.absent[id]) > listingAgain
	}
	l.mu.Lock()
	known := !slices.ContainsFunc(ids, news)
	l.mu.Unlock()
	if known {
		return nil
	}
	if err := l.refresh(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if delete(l.absent, id); len(l.volumes[id]) == 0 {
			l.absent[id] = time.Now()
		}
	}
	return nil
}

func (l *listing) one(id cluster.DatasetID) (backend.Volume, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch volumes := l.volumes[id]; len(volumes) {
	case 0:
		return backend.Volume{}, backend.ErrNotFound
	case 1:
		return volumes[0], nil
	default:
		return backend.Volume{}, fmt.Errorf("%w: volumes %s are all marked as this dataset's; none is used until one is left",
			backend.ErrExists, names(volumes))
	}
}

func names(volumes []backend.Volume) string {
	var ids []string
	for _, v := range volumes {
		ids = append(ids, v.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, ", ")
}

// mayMake refuses to make a volume in the place of one that was in the store and is no more.
func (l *listing) mayMake(ctx context.Context, id cluster.DatasetID) error {
	if _, err := l.one(id); errors.Is(err, backend.ErrExists) {
		return err
	}
	l.mu.Lock()
	listed := len(l.volumes[id]) > 0 && !l.unseen[id]
	l.mu.Unlock()
	if listed {
		if err := l.refresh(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, was := l.gone[id]; was {
		return fmt.Errorf("%w: its volume %s was in the store and is no more; it is not made anew", backend.ErrNotFound, v.ID)
	}
	return nil
}

// refresh asks the store.
func (l *listing) refresh(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	since := l.changes
	l.expired = false // what makes it expire while the store is asked counts
	l.mu.Unlock()
	all, err := l.store.List(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.expired, l.failed = true, time.Now()
		return err
	}
	l.take(all, since)
	return nil
}

// take replaces what is known by a listing that was begun at a count of changes.
func (l *listing) take(all []backend.Volume, since uint64) {
	listed := map[cluster.DatasetID][]backend.Volume{}
	for _, v := range all {
		listed[v.Dataset] = append(listed[v.Dataset], v)
		delete(l.unseen, v.Dataset)
		delete(l.gone, v.Dataset)
	}
	for id, volumes := range l.volumes {
		switch {
		case len(listed[id]) > 0:
		case l.unseen[id], l.changed[id] > since:
			listed[id] = volumes
		default:
			l.gone[id] = volumes[0]
		}
	}
	for id := range listed {
		if l.changed[id] > since && len(l.volumes[id]) == 0 {
			delete(listed, id) // destroyed meanwhile
		}
	}
	l.snapshotsSince(listed, since)
	clear(l.changed)
	l.volumes, l.read = listed, true
}

// put notes what the store said of a volume that was made or changed here.
func (l *listing) put(v backend.Volume) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.volumes[v.Dataset]) == 0 {
		l.unseen[v.Dataset] = true
	}
	if len(l.volumes[v.Dataset]) < 2 {
		l.volumes[v.Dataset] = []backend.Volume{v}
	}
	l.touch(v.Dataset)
}

// drop notes that the volume was destroyed here, or that one made here is gone.
func (l *listing) drop(id cluster.DatasetID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.volumes, id)
	delete(l.unseen, id)
	delete(l.doubted, id)
	l.touch(id)
}

// missing notes that the store knows a volume no more.
func (l *listing) missing(id cluster.DatasetID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if volumes := l.volumes[id]; len(volumes) == 1 && !l.unseen[id] {
		l.gone[id] = volumes[0]
	}
	delete(l.volumes, id)
	delete(l.unseen, id)
	delete(l.doubted, id)
	l.touch(id)
}

func (l *listing) touch(id cluster.DatasetID) {
	l.changes++
	l.changed[id] = l.changes
}

func (l *listing) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired, l.failed = true, time.Time{}
}
