// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Snapshot keeps the files as they are.
func (d *Driver) Snapshot(_ context.Context, id cluster.DatasetID, lineage backend.Lineage) (cluster.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := lineage.Name()
	if v := d.volumes[id]; v != nil {
		if s, ok := v.snapshots[name]; ok {
			return s.Snapshot, nil
		}
	}
	h, err := d.head(id)
	if err != nil {
		return cluster.Snapshot{}, err
	}
	s := snapshot{files: maps.Clone(h.files)}
	s.Snapshot = cluster.Snapshot{Name: name, Epoch: lineage.Epoch, Serial: lineage.Serial, ID: identity(id, name, s.files), Created: time.Now().UTC()}
	d.volumes[id].snapshots[name] = s
	h.base = name
	return s.Snapshot, nil
}

// identity is a digest of all that a snapshot is.
func identity(id cluster.DatasetID, name string, files map[string][]byte) string {
	digest := sha256.New()
	fmt.Fprintf(digest, "%q %q", id, name)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(digest, "%q %d ", file, len(files[file]))
		digest.Write(files[file])
	}
	return hex.EncodeToString(digest.Sum(nil)[:16])
}

// DeleteSnapshot removes a snapshot.
func (d *Driver) DeleteSnapshot(_ context.Context, id cluster.DatasetID, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.volumes[id]; v != nil {
		delete(v.snapshots, name)
		d.sweep(id)
	}
	return nil
}

// Clone makes a head of a snapshot.
func (d *Driver) Clone(_ context.Context, from cluster.DatasetID, name string, spec backend.Spec, scratch cluster.MoveID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.head(spec.Dataset); err == nil {
		return fmt.Errorf("head: %w", backend.ErrExists)
	}
	lineage, err := backend.ParseLineage(name)
	if err != nil {
		return err
	}
	if from == spec.Dataset && spec.Epoch < lineage.Epoch {
		return fmt.Errorf("epoch %d is older than snapshot %s: %w", spec.Epoch, name, backend.ErrChanged)
	}
	source := d.volumes[from]
	if source == nil {
		return fmt.Errorf("dataset %s: %w", from, backend.ErrNotFound)
	}
	s, ok := source.snapshots[name]
	if !ok {
		return fmt.Errorf("snapshot %s: %w", name, backend.ErrNotFound)
	}
	d.volume(spec.Dataset, spec.Profile).head = newHead(spec, scratch, s.files, name)
	return nil
}

// Revert makes the head one of its snapshots again.
func (d *Driver) Revert(_ context.Context, id cluster.DatasetID, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, err := d.head(id)
	if err != nil {
		return err
	}
	if err := h.unused(); err != nil {
		return err
	}
	s, ok := d.volumes[id].snapshots[name]
	if !ok {
		return fmt.Errorf("snapshot %s: %w", name, backend.ErrNotFound)
	}
	d.volumes[id].head = newHead(h.Spec, h.scratch, s.files, name)
	return nil
}

// DropHead removes the head.
func (d *Driver) DropHead(_ context.Context, id cluster.DatasetID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.volumes[id]
	if v == nil {
		return nil
	}
	if err := v.head.unused(); err != nil {
		return err
	}
	v.head = nil
	d.sweep(id)
	return nil
}

// volume is a dataset's, made when it is not there.
func (d *Driver) volume(id cluster.DatasetID, profile string) *volume {
	v := d.volumes[id]
	if v == nil {
		v = &volume{profile: profile, snapshots: map[string]snapshot{}}
		d.volumes[id] = v
	}
	return v
}

// sweep forgets a volume of which nothing is left.
func (d *Driver) sweep(id cluster.DatasetID) {
	if v := d.volumes[id]; v.head == nil && len(v.snapshots) == 0 {
		delete(d.volumes, id)
	}
}
