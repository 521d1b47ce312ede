// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// Store is network storage in memory, for tests: all machines of all clusters see it.
type Store struct {
	mu      sync.Mutex
	dir     string
	made    int
	volumes map[string]*stored
}

// stored is one volume of a Store.
type stored struct {
	backend.Volume
	cluster string
	devices map[string]string // by machine: an evicted one keeps a device with which nothing can be done
	origin  string            // what it was cloned from
}

// defaultVolume is the size of a volume for which no size is asked.
const defaultVolume = 1 << 30

// NewStore makes a store whose devices are loop devices of files in a folder. Without one they are names with nothing
// behind them, and nothing needs root.
func NewStore(dir string) *Store { return &Store{dir: dir, volumes: map[string]*stored{}} }

// Machine is what a machine of a cluster has of the store.
func (s *Store) Machine(clusterID, name string) *Machine { return &Machine{s, clusterID, name} }

// Vanish removes a volume as if it had never been.
func (s *Store) Vanish(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.volumes, id)
}

// Tag adds a volume as it is, marked as whose it says, as somebody may who works with the store's own tools.
func (s *Store) Tag(clusterID string, v backend.Volume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(clusterID, v)
}

func (s *Store) add(clusterID string, v backend.Volume) error {
	s.volumes[v.ID] = &stored{Volume: v, cluster: clusterID, devices: map[string]string{}}
	if s.dir == "" {
		return nil
	}
	f, err := os.Create(s.file(v.ID))
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(v.Size), f.Close())
}

func (s *Store) file(id string) string { return filepath.Join(s.dir, id) }

// Machine is one machine's view of a Store.
type Machine struct {
	store   *Store
	cluster string
	name    string
}

// Machine is the name.
func (m *Machine) Machine(context.Context) (string, error) { return m.name, nil }

// List returns the cluster's volumes.
func (m *Machine) List(ctx context.Context) ([]backend.Volume, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	var all []backend.Volume
	for _, v := range m.store.volumes {
		if v.cluster == m.cluster {
			all = append(all, v.look())
		}
	}
	slices.SortFunc(all, func(a, b backend.Volume) int { return cmp.Compare(a.ID, b.ID) })
	return all, ctx.Err()
}

// Create makes a volume.
func (m *Machine) Create(_ context.Context, spec backend.Spec) (backend.Volume, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	for _, v := range m.store.volumes {
		if v.cluster != m.cluster || v.Dataset != spec.Dataset {
			continue
		}
		if spec.Size != 0 && spec.Size != v.Size || spec.Profile != v.Profile {
			return v.look(), fmt.Errorf("volume %s: %w with %d bytes and profile %q", v.ID, backend.ErrExists, v.Size, v.Profile)
		}
		return v.look(), nil
	}
	m.store.made++
	v := backend.Volume{
		ID: "mem-" + strconv.Itoa(m.store.made), Dataset: spec.Dataset,
		Size: cmp.Or(spec.Size, defaultVolume), Profile: spec.Profile,
	}
	return v, m.store.add(m.cluster, v)
}

// Destroy removes a volume.
func (m *Machine) Destroy(_ context.Context, v backend.Volume) error {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return nil
	case there.Machine != "":
		return fmt.Errorf("volume %s: %w: attached to %s", v.ID, backend.ErrBusy, there.Machine)
	}
	delete(m.store.volumes, v.ID)
	if m.store.dir == "" {
		return nil
	}
	for _, s := range there.Snapshots {
		if err := os.Remove(m.store.file(s.ID)); err != nil {
			return err
		}
	}
	return os.Remove(m.store.file(v.ID))
}

func (m *Machine) own(v backend.Volume) (*stored, error) {
	there := m.store.volumes[v.ID]
	if there == nil || there.cluster != m.cluster {
		return &stored{}, fmt.Errorf("volume %s: %w", v.ID, backend.ErrNotFound)
	}
	return there, nil
}

// Attach makes a device.
func (m *Machine) Attach(ctx context.Context, v backend.Volume) (string, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	switch {
	case err != nil:
		return "", err
	case there.Machine == m.name:
		return there.devices[m.name], nil
	case there.Machine != "":
		return "", fmt.Errorf("volume %s: %w: attached to %s", v.ID, backend.ErrBusy, there.Machine)
	case there.devices[m.name] != "":
		return "", fmt.Errorf("volume %s: %w: the device from which this machine was evicted is still there", v.ID, backend.ErrBusy)
	}
	device := "/dev/" + v.ID
	if m.store.dir != "" {
		if device, err = m.loop(ctx, v); err != nil {
			return "", err
		}
	}
	there.Machine, there.devices[m.name] = m.name, device
	return device, nil
}

func (m *Machine) loop(ctx context.Context, v backend.Volume) (string, error) {
	file, err := os.OpenFile(m.store.file(v.ID), os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return mount.MakeLoop(ctx, file, v.ID)
}

// Detach takes the device away.
func (m *Machine) Detach(ctx context.Context, v backend.Volume) error {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there := m.store.volumes[v.ID]
	if there == nil || there.devices[m.name] == "" {
		return nil
	}
	if m.store.dir != "" {
		err := mount.RemoveLoop(ctx, mount.Loop{Device: there.devices[m.name], File: m.store.file(v.ID)})
		if errors.Is(err, mount.ErrBusy) {
			return fmt.Errorf("volume %s: %w: %w", v.ID, backend.ErrBusy, err)
		}
		if err != nil {
			return err
		}
	}
	delete(there.devices, m.name)
	if there.Machine == m.name {
		there.Machine = ""
	}
	return nil
}

// Attached are the devices of this machine.
func (m *Machine) Attached(context.Context) (map[string]string, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	attached := map[string]string{}
	for id, v := range m.store.volumes {
		if device := v.devices[m.name]; device != "" {
			attached[id] = device
		}
	}
	return attached, nil
}

// Evict leaves the machine a device of no size: whatever it still reads or writes fails.
func (m *Machine) Evict(_ context.Context, v backend.Volume, machine string) error {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	if err != nil || there.Machine != machine {
		return err
	}
	if m.store.dir != "" {
		if err := mount.CutLoop(there.devices[machine], there.Size); err != nil {
			return err
		}
	}
	there.Machine = ""
	return nil
}

// Fences says that it is so.
func (m *Machine) Fences() bool { return true }

// Grow makes the volume larger.
func (m *Machine) Grow(_ context.Context, v backend.Volume, size int64) error {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	there, err := m.own(v)
	if err != nil || there.Size >= size {
		return err
	}
	there.Size = size
	if m.store.dir == "" {
		return nil
	}
	if err := os.Truncate(m.store.file(v.ID), size); err != nil || there.devices[m.name] == "" {
		return err
	}
	return mount.EnlargeLoop(there.devices[m.name])
}
