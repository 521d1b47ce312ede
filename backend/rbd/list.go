// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// listed is an image, or a snapshot of one, in the pool's list.
type listed struct {
	Image      string
	ID         string
	Size       int64
	Snapshot   string
	SnapshotID uint64 `json:"snapshot_id"`
	LockType   string `json:"lock_type"`

	snapshots []backend.VolumeSnapshot // of an image
}

// atOnce bounds how many programs one listing runs.
const atOnce = 4

// List asks for the pool's images with their sizes and snapshots, and then for what that does not tell: who has those that are locked, and the
// marks of those that were not seen before. Devices here of which the lock has gone are fenced; they end.
func (s *Store) List(ctx context.Context) ([]backend.Volume, error) {
	if err := s.devices.Strays(ctx); err != nil {
		return nil, err
	}
	// Looked at before the store is asked: what is attached meanwhile is not taken for something that has ended.
	running, err := s.running()
	if err != nil {
		return nil, err
	}
	images, err := s.images(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]*backend.Volume, len(images))
	clients := make([]uint64, len(images))
	group, bounded := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, image := range images {
		group.Go(func() (err error) {
			found[i], clients[i], err = s.look(bounded, image)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	list := make([]backend.Volume, 0, len(found))
	for i, v := range found {
		if v == nil {
			continue
		}
		list = append(list, *v)
		if v.Machine == s.machine && s.isClient(v.Dataset, clients[i]) {
			delete(running, string(v.Dataset))
		}
	}
	for id := range running {
		if err := s.abandon(ctx, cluster.DatasetID(id)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// abandon ends a device that the lock is not of. It is asked again, because the device may have become another since.
func (s *Store) abandon(ctx context.Context, id cluster.DatasetID) error {
	defer s.lock(id)()
	h, err := s.holderOf(ctx, s.imageOf(id))
	if gone(err) != nil || h != nil && h.machine == s.machine && s.isClient(id, h.client.id) {
		return gone(err)
	}
	return s.devices.Abandon(ctx, string(id))
}

// images are those of the pool that have a name of this cluster's.
func (s *Store) images(ctx context.Context) ([]listed, error) {
	out, err := s.ceph.rbd(ctx, "ls", "-l", s.ceph.pool, "--format", "json")
	var all []listed
	if err == nil || status(err) == int(unix.ENOENT) && len(out) > 0 {
		// An image that is being removed makes it fail after it has told of all the others.
		err = decode("rbd ls", out, &all)
	}
	if err != nil {
		return nil, err
	}
	snapshots := map[string][]listed{}
	for _, l := range all {
		if l.Snapshot != "" {
			snapshots[l.Image] = append(snapshots[l.Image], l)
		}
	}
	all = slices.DeleteFunc(all, func(l listed) bool {
		_, ours := s.datasetOf(l.Image)
		return !ours || l.Snapshot != ""
	})
	for i, l := range all {
		for _, one := range snapshots[l.Image] {
			if taken, ours := volumeSnapshot(l.ID, one.SnapshotID, one.Snapshot); ours {
				all[i].snapshots = append(all[i].snapshots, taken)
			}
		}
		sortSnapshots(all[i].snapshots)
	}
	return all, nil
}

// look completes what the list says of an image. Nil is one that is not a volume of ours, or not any more.
func (s *Store) look(ctx context.Context, l listed) (*backend.Volume, uint64, error) {
	m, err := s.markOf(ctx, l)
	if err != nil || m == nil {
		return nil, 0, gone(err)
	}
	v := &backend.Volume{ID: l.Image, Dataset: m.Dataset, Size: l.Size, Profile: m.Profile, Snapshots: l.snapshots}
	if l.LockType == "" {
		return v, 0, nil
	}
	h, err := s.holderOf(ctx, l.Image)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return nil, 0, nil
	case err != nil || h == nil:
		return v, 0, err
	}
	v.Machine = h.who()
	return v, h.client.id, nil
}

// gone passes over an image that is not there.
func gone(err error) error {
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	return err
}
