// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
)

// CanSnapshot is nil: Ceph has snapshots of every image.
func (s *Store) CanSnapshot() error { return nil }

// snap is a snapshot as Ceph tells of it.
type snap struct {
	ID        uint64
	Name      string
	Timestamp string
	Namespace struct{ Type string }
}

// volumeSnapshot is one of ours; Ceph gives its number once in an image, and the image's id once in a pool.
func volumeSnapshot(imageID string, id uint64, name string) (backend.VolumeSnapshot, bool) {
	_, err := backend.ParseLineage(name)
	return backend.VolumeSnapshot{Name: name, ID: fmt.Sprintf("%s@%d", imageID, id)}, err == nil
}

// snaps are all snapshots of an image; with all also those that are removed and of which a clone is left.
func (s *Store) snaps(ctx context.Context, image string, all bool) (list []snap, err error) {
	args := []string{"snap", "ls", s.ceph.image(image)}
	if all {
		args = append(args, "--all")
	}
	if err := s.ceph.rbdJSON(ctx, &list, args...); noImage(err) {
		return nil, absent(image)
	} else if err != nil {
		return nil, err
	}
	return list, nil
}

// Snapshots asks for those of one image, and when they were taken.
func (s *Store) Snapshots(ctx context.Context, v backend.Volume) ([]backend.VolumeSnapshot, error) {
	if _, ours := s.datasetOf(v.ID); !ours {
		return nil, absent(v.ID)
	}
	all, err := s.snaps(ctx, v.ID, false)
	if err != nil {
		return nil, err
	}
	info, err := s.infoOf(ctx, v.ID)
	if err != nil {
		return nil, err
	}
	var list []backend.VolumeSnapshot
	for _, one := range all {
		taken, ours := volumeSnapshot(info.ID, one.ID, one.Name)
		if !ours {
			continue
		}
		if at, err := time.ParseInLocation(time.ANSIC, one.Timestamp, time.Local); err == nil {
			taken.Created = at
		}
		list = append(list, taken)
	}
	sortSnapshots(list)
	return list, nil
}

func sortSnapshots(list []backend.VolumeSnapshot) {
	slices.SortFunc(list, func(a, b backend.VolumeSnapshot) int { return cmp.Compare(a.Name, b.Name) })
}

// TakeSnapshot lets Ceph take it. Whoever has the image open is told before the answer, and whatever it writes from then on is not in it: so it
// is of one instant, since only one client writes.
func (s *Store) TakeSnapshot(ctx context.Context, v backend.Volume, name string) (backend.VolumeSnapshot, error) {
	if _, ours := s.datasetOf(v.ID); !ours {
		return backend.VolumeSnapshot{}, absent(v.ID)
	}
	_, err := s.ceph.rbd(ctx, "snap", "create", s.ceph.image(v.ID)+"@"+name)
	switch {
	case noImage(err):
		return backend.VolumeSnapshot{}, absent(v.ID)
	case err != nil && status(err) != int(unix.EEXIST):
		return backend.VolumeSnapshot{}, err
	}
	return s.snapshot(ctx, v, name)
}

// snapshot is one of a volume's, or ErrNotFound.
func (s *Store) snapshot(ctx context.Context, v backend.Volume, name string) (backend.VolumeSnapshot, error) {
	list, err := s.Snapshots(ctx, v)
	if err != nil {
		return backend.VolumeSnapshot{}, err
	}
	i := slices.IndexFunc(list, func(o backend.VolumeSnapshot) bool { return o.Name == name })
	if i < 0 {
		return backend.VolumeSnapshot{}, fmt.Errorf("snapshot %s of volume %s: %w", name, v.ID, backend.ErrNotFound)
	}
	return list[i], nil
}

// DeleteSnapshot removes one; what a clone still reads of it Ceph keeps until the clone has it itself.
func (s *Store) DeleteSnapshot(ctx context.Context, v backend.Volume, name string) error {
	if _, ours := s.datasetOf(v.ID); !ours {
		return nil
	}
	_, err := s.ceph.run(ctx, removes, "rbd", "snap", "rm", "--no-progress", s.ceph.image(v.ID)+"@"+name)
	if status(err) != int(unix.ENOENT) {
		return err
	}
	all, failed := s.snaps(ctx, v.ID, false)
	if failed != nil {
		return gone(failed)
	}
	if slices.ContainsFunc(all, func(o snap) bool { return o.Name == name }) {
		return err
	}
	return nil
}
