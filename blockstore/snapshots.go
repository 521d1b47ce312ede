// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// snapshotPrefix begins the names of snapshots' files; a number follows that the volume gives once.
const snapshotPrefix = "snapshot-"

// CanSnapshot says whether the folder's filesystem can share blocks, which was tried when the folder was opened.
func (s *Store) CanSnapshot() error { return s.unshared }

// try looks whether files in the folder can share blocks.
func (s *Store) try() error {
	reason, err := mount.Shares(s.Dir)
	if reason != nil {
		s.unshared = fmt.Errorf("%w: %w", backend.ErrUnsupported, reason)
	}
	return err
}

func (s *Store) snapshotFile(volume, id string) string { return filepath.Join(s.path(volume), id) }

func (v *volume) snapshot(name string) (client.Snapshot, error) {
	i := slices.IndexFunc(v.Snapshots, func(o client.Snapshot) bool { return o.Name == name })
	if i < 0 {
		return client.Snapshot{}, fmt.Errorf("snapshot %s of volume %s: %w", name, v.ID, backend.ErrNotFound)
	}
	return v.Snapshots[i], nil
}

// Snapshot makes a file that shares all blocks with the volume's, and writes it down after that. The kernel holds up the export's process
// where that writes meanwhile. The same name again is the snapshot that exists.
func (s *Store) Snapshot(id, name string) (client.Snapshot, error) {
	if _, err := backend.ParseLineage(name); err != nil {
		return client.Snapshot{}, fmt.Errorf("snapshot of volume %s: %w: %w", id, cluster.ErrInvalid, err)
	}
	v, err := s.hold(id)
	if err != nil {
		return client.Snapshot{}, err
	}
	defer v.mu.Unlock()
	if there, err := v.snapshot(name); err == nil {
		return there, nil
	}
	next := v.record
	next.Taken++
	taken := client.Snapshot{Name: name, ID: snapshotPrefix + strconv.FormatUint(next.Taken, 10), Created: time.Now()}
	if err := s.share(s.snapshotFile(id, taken.ID), filepath.Join(s.path(id), dataFile), 0); err != nil {
		return taken, fmt.Errorf("snapshot %s of volume %s: %w", name, id, sentinel(err))
	}
	next.Snapshots = append(slices.Clone(v.Snapshots), taken)
	slices.SortFunc(next.Snapshots, func(a, b client.Snapshot) int { return cmp.Compare(a.Name, b.Name) })
	if err := s.write(v, next); err != nil {
		return taken, fmt.Errorf("snapshot %s of volume %s: %w", name, id, err)
	}
	return taken, nil
}

// share makes a file of another, at least as long as asked for, on disk when it returns.
func (s *Store) share(to, from string, size int64) error {
	if s.unshared != nil {
		return s.unshared
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = mount.ShareBlocks(out, in)
	if info, failed := out.Stat(); err == nil && failed == nil && info.Size() < size {
		err = out.Truncate(size)
	}
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return flush(filepath.Dir(to))
}

// DeleteSnapshot removes one. Absent is success, as is a volume that is gone.
func (s *Store) DeleteSnapshot(id, name string) error {
	v, err := s.hold(id)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.mu.Unlock()
	there, err := v.snapshot(name)
	if err != nil {
		return nil
	}
	next := v.record
	next.Snapshots = slices.DeleteFunc(slices.Clone(v.Snapshots), func(o client.Snapshot) bool { return o.Name == name })
	if err := s.write(v, next); err != nil {
		return fmt.Errorf("remove snapshot %s of volume %s: %w", name, id, err)
	}
	return os.Remove(s.snapshotFile(id, there.ID))
}

// strays removes files of snapshots that a record does not have: half made, or half removed.
func (s *Store) strays(r record) error {
	entries, err := os.ReadDir(s.path(r.ID))
	if err != nil {
		return err
	}
	for _, e := range entries {
		known := slices.ContainsFunc(r.Snapshots, func(o client.Snapshot) bool { return o.ID == e.Name() })
		if !strings.HasPrefix(e.Name(), snapshotPrefix) || known {
			continue
		}
		if err := os.Remove(s.snapshotFile(r.ID, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Clone makes a volume of a snapshot that shares all blocks with it. One of the dataset that was made of it is returned as it is.
func (s *Store) Clone(id string, q client.CloneRequest) (client.Volume, error) {
	if _, err := uuid.Parse(string(q.Dataset)); err != nil || q.Profile != "" {
		return client.Volume{}, fmt.Errorf("dataset %q, profile %q: %w: a UUID, and no profile", q.Dataset, q.Profile, cluster.ErrInvalid)
	}
	s.making.Lock()
	defer s.making.Unlock()
	origin := id + "@" + q.Snapshot
	if there, err := s.ofDataset(q.Dataset); err == nil {
		defer there.mu.Unlock()
		if there.Origin != origin {
			return there.Volume, fmt.Errorf("volume %s: %w, which is no clone of %s", there.ID, backend.ErrExists, origin)
		}
		return there.Volume, nil
	}
	v, err := s.hold(id)
	if err != nil {
		return client.Volume{}, err
	}
	defer v.mu.Unlock()
	from, err := v.snapshot(q.Snapshot)
	if err != nil {
		return client.Volume{}, err
	}
	path := s.snapshotFile(id, from.ID)
	info, err := os.Stat(path)
	if err != nil {
		return client.Volume{}, fmt.Errorf("clone snapshot %s: %w", origin, err)
	}
	r := record{Cluster: s.Cluster, Origin: origin, Volume: client.Volume{
		ID: volumePrefix + uuid.NewString(), Dataset: q.Dataset, Size: max(q.Size, info.Size()),
	}}
	if err := s.create(r, func(data string) error { return s.share(data, path, r.Size) }); err != nil {
		return r.Volume, fmt.Errorf("clone snapshot %s: %w", origin, sentinel(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volumes[r.ID] = &volume{record: r}
	return r.Volume, nil
}

// ofDataset holds the volume of a dataset.
func (s *Store) ofDataset(id cluster.DatasetID) (*volume, error) {
	for _, v := range s.List() {
		if v.Dataset == id {
			return s.hold(v.ID)
		}
	}
	return nil, backend.ErrNotFound
}

// attachedTo holds a volume during the attachment that is named.
func (s *Store) attachedTo(id string, q client.PointRequest) (*volume, client.Snapshot, error) {
	v, err := s.hold(id)
	if err != nil {
		return nil, client.Snapshot{}, err
	}
	there, err := v.snapshot(q.Snapshot)
	if err == nil && (v.Machine != q.Machine || v.Attachment != q.Attachment) {
		err = fmt.Errorf("volume %s: %w: attachment %d of %s has ended", id, backend.ErrNotAttached, q.Attachment, q.Machine)
	}
	if err != nil {
		v.mu.Unlock()
		return nil, there, err
	}
	return v, there, nil
}

// Differs compares a volume with a snapshot of it.
func (s *Store) Differs(id string, q client.PointRequest) (bool, error) {
	v, there, err := s.attachedTo(id, q)
	if err != nil {
		return false, err
	}
	defer v.mu.Unlock()
	same, err := mount.SameFiles(filepath.Join(s.path(id), dataFile), s.snapshotFile(id, there.ID))
	return !same, err
}

// Rollback puts a file that shares all blocks with the snapshot's in the volume's place, in one step, while no process serves it.
func (s *Store) Rollback(ctx context.Context, id string, q client.PointRequest) error {
	v, there, err := s.attachedTo(id, q)
	if err != nil {
		return err
	}
	defer v.mu.Unlock()
	if v.Export != nil {
		if err := s.way(v).kill(ctx); err != nil {
			return fmt.Errorf("roll volume %s back: %w", id, err)
		}
	}
	data := filepath.Join(s.path(id), dataFile)
	err = s.share(data+".new", s.snapshotFile(id, there.ID), v.Size)
	if err == nil {
		err = errors.Join(os.Rename(data+".new", data), flush(s.path(id)))
	}
	if v.Export != nil {
		err = errors.Join(err, s.serve(ctx, v))
	}
	if err != nil {
		return fmt.Errorf("roll volume %s back: %w", id, sentinel(err))
	}
	return nil
}
