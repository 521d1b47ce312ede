// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

const (
	snapshotsDir = "snapshots" // has a folder for each volume that had any, with a file for each of its snapshots
	originsDir   = "origins"   // has a file for each clone, which says of what it was made
)

// CanSnapshot says whether the folder's filesystem can share blocks, which was tried when the folder was opened.
func (s *Store) CanSnapshot() error { return s.unshared }

// try looks whether files in the folder can share blocks.
func (s *Store) try() error {
	reason, err := mount.Shares(s.dir(unattachedDir))
	if reason != nil {
		s.unshared = fmt.Errorf("%w: %w", backend.ErrUnsupported, reason)
	}
	return err
}

// Snapshots reads the volume's folder of them.
func (s *Store) Snapshots(_ context.Context, v backend.Volume) ([]backend.VolumeSnapshot, error) {
	if _, err := s.where(v); err != nil {
		return nil, err
	}
	return s.snapshots(v.ID)
}

func (s *Store) snapshots(volume string) ([]backend.VolumeSnapshot, error) {
	entries, err := os.ReadDir(s.dir(snapshotsDir, volume)) // in order
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the snapshots of volume %s: %w", volume, err)
	}
	var list []backend.VolumeSnapshot
	for _, e := range entries {
		name, id, _ := strings.Cut(e.Name(), ".")
		if _, err := backend.ParseLineage(name); err != nil || id == "" {
			continue // somebody else's
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // it is being removed
		}
		if err != nil {
			return nil, fmt.Errorf("list the snapshots of volume %s: %w", volume, err)
		}
		list = append(list, backend.VolumeSnapshot{Name: name, ID: id, Created: info.ModTime()})
	}
	return list, nil
}

// snapshot is one of a volume's, with its file.
func (s *Store) snapshot(v backend.Volume, name string) (one backend.VolumeSnapshot, path string, err error) {
	list, err := s.snapshots(v.ID)
	if err != nil {
		return one, "", err
	}
	for _, one := range list {
		if one.Name == name {
			return one, s.dir(snapshotsDir, v.ID, one.Name+"."+one.ID), nil
		}
	}
	return one, "", fmt.Errorf("snapshot %s of volume %s: %w", name, v.ID, backend.ErrNotFound)
}

// TakeSnapshot makes a file that shares all blocks with the volume's. The kernel holds up whoever writes to that for as long.
func (s *Store) TakeSnapshot(ctx context.Context, v backend.Volume, name string) (backend.VolumeSnapshot, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return backend.VolumeSnapshot{}, err
	}
	defer unlock()
	path, err := s.file(v)
	if err != nil {
		return backend.VolumeSnapshot{}, err
	}
	if one, _, err := s.snapshot(v, name); !errors.Is(err, backend.ErrNotFound) {
		return one, err
	}
	if err := os.MkdirAll(s.dir(snapshotsDir, v.ID), 0o700); err != nil {
		return backend.VolumeSnapshot{}, fmt.Errorf("folder of snapshots: %w", err)
	}
	err = writeNew(s.dir(snapshotsDir, v.ID, name+"."+rand.Text()), func(f *os.File) error { return share(f, path) })
	if err == nil {
		err = errors.Join(flush(s.dir(snapshotsDir)), flush(s.root))
	}
	if err != nil {
		return backend.VolumeSnapshot{}, fmt.Errorf("snapshot %s of volume %s: %w", name, v.ID, sentinel(err))
	}
	one, _, err := s.snapshot(v, name)
	return one, err
}

func share(to *os.File, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	return mount.ShareBlocks(to, from)
}

// file is where a volume is.
func (s *Store) file(v backend.Volume) (string, error) {
	machine, err := s.where(v)
	switch {
	case err != nil:
		return "", err
	case machine == "":
		return s.dir(unattachedDir, v.ID), nil
	}
	return s.dir(attachedDir, machine, v.ID), nil
}

// DeleteSnapshot removes the file.
func (s *Store) DeleteSnapshot(_ context.Context, v backend.Volume, name string) error {
	_, path, err := s.snapshot(v, name)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove snapshot %s of volume %s: %w", name, v.ID, err)
	}
	return flush(filepath.Dir(path))
}

// forget removes what there is beside a volume's file, unless something of it is somebody else's.
func (s *Store) forget(volume string) error {
	list, err := s.snapshots(volume)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir(snapshotsDir, volume))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the snapshots of volume %s: %w", volume, err)
	}
	if len(entries) > len(list) {
		return fmt.Errorf("volume %s: %w: %s has files that are no snapshots of Flocker's", volume, backend.ErrBusy, s.dir(snapshotsDir, volume))
	}
	for _, path := range []string{s.dir(snapshotsDir, volume), s.dir(originsDir, volume)} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what belongs to volume %s: %w", volume, err)
		}
	}
	return nil
}

// CloneVolume makes a file that shares all blocks with a snapshot's. What it is of is written down before it appears.
func (s *Store) CloneVolume(ctx context.Context, v backend.Volume, snapshot string, spec backend.Spec) (backend.Volume, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return backend.Volume{}, err
	}
	defer unlock()
	origin := v.ID + "@" + snapshot + "\n"
	if there, err := s.of(spec.Dataset); !errors.Is(err, backend.ErrNotFound) {
		if err != nil {
			return there, err
		}
		if of, err := os.ReadFile(s.dir(originsDir, there.ID)); string(of) != origin {
			return there, fmt.Errorf("volume %s: %w, which is no clone of %s@%s: %q, %w", there.ID, backend.ErrExists, v.ID, snapshot, of, err)
		}
		return there, nil
	}
	_, path, err := s.snapshot(v, snapshot)
	if err != nil {
		return backend.Volume{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return backend.Volume{}, fmt.Errorf("snapshot %s of volume %s: %w", snapshot, v.ID, sentinel(err))
	}
	size := max(spec.Size, info.Size())
	made := backend.Volume{ID: nameOf(spec.Dataset, size), Dataset: spec.Dataset, Size: size}
	if err := s.writeOrigin(made.ID, origin); err != nil {
		return made, fmt.Errorf("make volume %s: %w", made.ID, sentinel(err))
	}
	err = writeNew(s.dir(unattachedDir, made.ID), func(f *os.File) error { return errors.Join(share(f, path), f.Truncate(size)) })
	if err != nil {
		return made, fmt.Errorf("make volume %s: %w", made.ID, sentinel(err))
	}
	return made, nil
}

func (s *Store) writeOrigin(volume, origin string) error {
	path := s.dir(originsDir, volume)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a crash
		return err
	}
	err := writeNew(path, func(f *os.File) error {
		_, err := f.WriteString(origin)
		return err
	})
	return errors.Join(err, flush(s.root))
}
