// SPDX-License-Identifier: Apache-2.0

package nbd

import (
	"context"
	"errors"
	"fmt"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/blockstore/client"
)

// CanSnapshot is what the store said last.
func (s *Store) CanSnapshot() error { return s.client.CanSnapshot() }

func snapshots(v client.Volume) []backend.VolumeSnapshot {
	var list []backend.VolumeSnapshot
	for _, one := range v.Snapshots {
		list = append(list, snapshot(v.ID, one))
	}
	return list
}

// snapshot has an id that no other of the store has, since volumes have.
func snapshot(volume string, s client.Snapshot) backend.VolumeSnapshot {
	return backend.VolumeSnapshot{Name: s.Name, ID: volume + "/" + s.ID, Created: s.Created}
}

// Snapshots asks the store.
func (s *Store) Snapshots(ctx context.Context, v backend.Volume) ([]backend.VolumeSnapshot, error) {
	now, err := s.client.Volume(ctx, v.ID)
	return snapshots(now), err
}

// TakeSnapshot asks the store.
func (s *Store) TakeSnapshot(ctx context.Context, v backend.Volume, name string) (backend.VolumeSnapshot, error) {
	taken, err := s.client.Snapshot(ctx, v.ID, name)
	return snapshot(v.ID, taken), err
}

// DeleteSnapshot asks the store.
func (s *Store) DeleteSnapshot(ctx context.Context, v backend.Volume, name string) error {
	return s.client.DeleteSnapshot(ctx, v.ID, name)
}

// CloneVolume asks the store.
func (s *Store) CloneVolume(ctx context.Context, v backend.Volume, snapshot string, spec backend.Spec) (backend.Volume, error) {
	made, err := s.client.Clone(ctx, v.ID, client.CloneRequest{Snapshot: snapshot, Dataset: spec.Dataset, Size: spec.Size, Profile: spec.Profile})
	return volume(made), err
}

// here is this machine's attachment of a volume.
func (s *Store) here(ctx context.Context, v backend.Volume, snapshot string) (client.PointRequest, error) {
	now, err := s.client.Volume(ctx, v.ID)
	if err == nil && now.Machine != s.machine {
		err = fmt.Errorf("volume %s: %w", v.ID, backend.ErrNotAttached)
	}
	return client.PointRequest{Snapshot: snapshot, Attachment: now.Attachment}, err
}

// Differs asks the store.
func (s *Store) Differs(ctx context.Context, v backend.Volume, snapshot string) (bool, error) {
	q, err := s.here(ctx, v, snapshot)
	if err != nil {
		return false, err
	}
	return s.client.Differs(ctx, v.ID, q)
}

// Rollback ends the device, whose memory would be of what was, and asks the store. The attachment stays.
func (s *Store) Rollback(ctx context.Context, v backend.Volume, snapshot string) error {
	q, err := s.here(ctx, v, snapshot)
	if err != nil {
		return err
	}
	if list, err := s.Snapshots(ctx, v); err != nil {
		return err
	} else if !has(list, snapshot) {
		return fmt.Errorf("snapshot %s of volume %s: %w", snapshot, v.ID, backend.ErrNotFound)
	}
	running, err := s.running(v.ID)
	if err != nil {
		return err
	}
	for device := range running {
		if err := s.stop(ctx, device); err != nil && !errors.Is(err, userdev.ErrUnflushed) { // what it held back is not wanted any more
			return err
		}
	}
	return s.client.Rollback(ctx, v.ID, q)
}

func has(list []backend.VolumeSnapshot, name string) bool {
	for _, s := range list {
		if s.Name == name {
			return true
		}
	}
	return false
}
