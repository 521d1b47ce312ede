// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// look is the volume as a caller may keep it.
func (s *stored) look() backend.Volume {
	v := s.Volume
	v.Snapshots = slices.Clone(v.Snapshots)
	return v
}

func (s *stored) snapshot(name string) (backend.VolumeSnapshot, bool) {
	i := slices.IndexFunc(s.Snapshots, func(o backend.VolumeSnapshot) bool { return o.Name == name })
	if i < 0 {
		return backend.VolumeSnapshot{}, false
	}
	return s.Snapshots[i], true
}

// CanSnapshot is nil.
func (m *Machine) CanSnapshot() error { return nil }

// Snapshots are the volume's.
func (m *Machine) Snapshots(_ context.Context, v backend.Volume) ([]backend.VolumeSnapshot, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	return there.look().Snapshots, err
}

// TakeSnapshot copies the volume's file.
func (m *Machine) TakeSnapshot(_ context.Context, v backend.Volume, name string) (backend.VolumeSnapshot, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	if err != nil {
		return backend.VolumeSnapshot{}, err
	}
	if s, taken := there.snapshot(name); taken {
		return s, nil
	}
	m.store.made++
	s := backend.VolumeSnapshot{Name: name, ID: "snap-" + strconv.Itoa(m.store.made), Created: time.Now()}
	if err := m.store.copy(v.ID, s.ID); err != nil {
		return s, err
	}
	there.Snapshots = append(there.look().Snapshots, s)
	slices.SortFunc(there.Snapshots, func(a, b backend.VolumeSnapshot) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// DeleteSnapshot removes the copy.
func (m *Machine) DeleteSnapshot(_ context.Context, v backend.Volume, name string) error {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	s, taken := there.snapshot(name)
	if err != nil || !taken {
		return nil
	}
	there.Snapshots = slices.DeleteFunc(there.look().Snapshots, func(o backend.VolumeSnapshot) bool { return o.Name == name })
	if m.store.dir == "" {
		return nil
	}
	return os.Remove(m.store.file(s.ID))
}

// CloneVolume copies a snapshot's file.
func (m *Machine) CloneVolume(_ context.Context, v backend.Volume, snapshot string, spec backend.Spec) (backend.Volume, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	origin := v.ID + "@" + snapshot
	for _, there := range m.store.volumes {
		switch {
		case there.cluster != m.cluster || there.Dataset != spec.Dataset:
		case there.origin != origin:
			return there.look(), fmt.Errorf("volume %s: %w, which is no clone of %s", there.ID, backend.ErrExists, origin)
		default:
			return there.look(), nil
		}
	}
	from, err := m.own(v)
	s, taken := from.snapshot(snapshot)
	if err != nil || !taken {
		return backend.Volume{}, errors.Join(err, fmt.Errorf("snapshot %s: %w", origin, backend.ErrNotFound))
	}
	size, err := m.store.sizeOf(s.ID, from.Size)
	if err != nil {
		return backend.Volume{}, err
	}
	m.store.made++
	made := backend.Volume{ID: "mem-" + strconv.Itoa(m.store.made), Dataset: spec.Dataset, Size: max(spec.Size, size), Profile: spec.Profile}
	if err := m.store.copy(s.ID, made.ID); err != nil {
		return made, err
	}
	m.store.volumes[made.ID] = &stored{Volume: made, cluster: m.cluster, devices: map[string]string{}, origin: origin}
	return made, m.store.lengthen(made.ID, made.Size)
}

// Differs compares the files.
func (m *Machine) Differs(_ context.Context, v backend.Volume, snapshot string) (bool, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	s, taken := there.snapshot(snapshot)
	if err != nil || !taken {
		return false, errors.Join(err, fmt.Errorf("snapshot %s of volume %s: %w", snapshot, v.ID, backend.ErrNotFound))
	}
	same, err := m.store.same(v.ID, s.ID)
	return !same, err
}

// Rollback puts a copy of the snapshot in the place of the volume's file, and makes its device anew.
func (m *Machine) Rollback(ctx context.Context, v backend.Volume, snapshot string) error {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	s, taken := there.snapshot(snapshot)
	switch {
	case err != nil || !taken:
		return errors.Join(err, fmt.Errorf("snapshot %s of volume %s: %w", snapshot, v.ID, backend.ErrNotFound))
	case there.Machine != m.name:
		return fmt.Errorf("volume %s: %w", v.ID, backend.ErrNotAttached)
	case m.store.dir == "":
		return nil
	}
	err = mount.RemoveLoop(ctx, mount.Loop{Device: there.devices[m.name], File: m.store.file(v.ID)})
	if errors.Is(err, mount.ErrBusy) {
		return fmt.Errorf("volume %s: %w: %w", v.ID, backend.ErrBusy, err)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(os.Remove(m.store.file(v.ID)), m.store.copy(s.ID, v.ID), m.store.lengthen(v.ID, there.Size)); err != nil {
		return err
	}
	there.devices[m.name], err = m.loop(ctx, v)
	return err
}

func (s *Store) lengthen(id string, size int64) error {
	if s.dir == "" {
		return nil
	}
	return os.Truncate(s.file(id), size)
}

func (s *Store) sizeOf(id string, unknown int64) (int64, error) {
	if s.dir == "" {
		return unknown, nil
	}
	info, err := os.Stat(s.file(id))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// grain is how much of a file is copied at once.
const grain = 64 << 10

// copy makes a file of another as it is at one instant: again, until nothing of it has changed when all of it is copied.
func (s *Store) copy(from, to string) error {
	if s.dir == "" {
		return nil
	}
	for {
		if err := copySparse(s.file(from), s.file(to)); err != nil {
			return err
		}
		if same, err := s.same(from, to); err != nil || same {
			return err
		}
	}
}

func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	size, err := in.Seek(0, io.SeekEnd)
	for at := int64(0); at < size && err == nil; {
		data, nothing := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if nothing != nil {
			break // holes to the end
		}
		block := make([]byte, min(grain, size-data))
		if _, err = in.ReadAt(block, data); err == nil {
			_, err = out.WriteAt(block, data)
		}
		at = data + int64(len(block))
	}
	return errors.Join(err, out.Truncate(size), out.Close())
}

// same compares what two files hold; beyond the shorter one's end there are zeros.
func (s *Store) same(one, other string) (bool, error) {
	if s.dir == "" {
		return true, nil
	}
	return mount.SameFiles(s.file(one), s.file(other))
}
