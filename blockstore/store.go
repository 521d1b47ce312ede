// SPDX-License-Identifier: Apache-2.0

// Package blockstore is a storage host: it keeps volumes as files and exports each to one machine at a time.
package blockstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
)

// defaultSize is that of a volume for which no size is asked.
const defaultSize = 75 << 30

// Names in the store's folder. All else in it is somebody else's.
const (
	volumePrefix = "vol-"
	newPrefix    = ".new-"
	oldPrefix    = ".old-"
	lockFile     = "lock"
)

// Config says where volumes are and how they are exported.
type Config struct {
	Dir       string
	Cluster   string // whose volumes they are
	Host      string // the address to export on; empty: all
	FirstPort int    // of exports
	LastPort  int
	BootID    string // of this machine
	Log       *slog.Logger
}

// Store is a folder of volumes. One process at a time has it open.
type Store struct {
	Config
	lock *os.File

	mu       sync.Mutex // of the map, and of who gets which port
	volumes  map[string]*volume
	unshared error // why there are no snapshots
	ports    map[int]bool
	making   sync.Mutex // one volume at a time is made
}

// volume is one volume; its lock is held during a change of it.
type volume struct {
	mu   sync.Mutex
	gone bool
	record
}

// Open reads the folder's records and exports again what was exported before in this boot.
func Open(ctx context.Context, config Config) (*Store, error) {
	if !filepath.IsAbs(config.Dir) {
		return nil, fmt.Errorf("folder of the block store: %w: %q is no absolute path", cluster.ErrInvalid, config.Dir)
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the block store: %w", err)
	}
	s := &Store{Config: config, volumes: map[string]*volume{}, ports: map[int]bool{}}
	err := s.open(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("block store in %s: %w", config.Dir, err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.lock, err = os.OpenFile(s.path(lockFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another process has it open: %w", err)
	}
	if err := s.try(); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	return s.resume(ctx)
}

// Close lets another process open the folder. Exports go on.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

func (s *Store) path(name string) string { return filepath.Join(s.Dir, name) }

// load reads every record, and removes what was half made or half removed.
func (s *Store) load() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, newPrefix+volumePrefix) || strings.HasPrefix(name, oldPrefix+volumePrefix) {
			if err := os.RemoveAll(s.path(name)); err != nil {
				return err
			}
			continue
		}
		if !e.IsDir() || !strings.HasPrefix(name, volumePrefix) {
			continue
		}
		r, err := readRecord(s.path(name))
		if err != nil {
			return err
		}
		if r.Cluster != s.Cluster {
			return fmt.Errorf("%w: volume %s is of cluster %q, not of %s", cluster.ErrInvalid, name, r.Cluster, s.Cluster)
		}
		if err := s.strays(r); err != nil {
			return err
		}
		s.volumes[name] = &volume{record: r}
		if r.Export != nil {
			s.ports[r.Export.Port] = true
		}
	}
	return nil
}

// List is every volume, in order.
func (s *Store) List() []client.Volume {
	s.mu.Lock()
	all := make([]*volume, 0, len(s.volumes))
	for _, v := range s.volumes {
		all = append(all, v)
	}
	s.mu.Unlock()
	list := make([]client.Volume, 0, len(all))
	for _, v := range all {
		if r, there := v.look(); there {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b client.Volume) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (v *volume) look() (r client.Volume, there bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.Volume, !v.gone
}

// hold locks a volume for a change of it.
func (s *Store) hold(id string) (*volume, error) {
	s.mu.Lock()
	v := s.volumes[id]
	s.mu.Unlock()
	if v != nil {
		v.mu.Lock()
		if !v.gone {
			return v, nil
		}
		v.mu.Unlock()
	}
	return nil, fmt.Errorf("volume %s: %w", id, backend.ErrNotFound)
}

// Volume is one of them.
func (s *Store) Volume(id string) (client.Volume, error) {
	v, err := s.hold(id)
	if err != nil {
		return client.Volume{}, err
	}
	defer v.mu.Unlock()
	return v.Volume, nil
}

// Create makes a volume that holds only zeros. One of the dataset that exists is returned as it is.
func (s *Store) Create(spec client.Spec) (client.Volume, error) {
	if spec.Size < 0 || spec.Profile != "" {
		return client.Volume{}, fmt.Errorf("volume of %d bytes, profile %q: %w: a block store has no profiles", spec.Size, spec.Profile, cluster.ErrInvalid)
	}
	if _, err := uuid.Parse(string(spec.Dataset)); err != nil {
		return client.Volume{}, fmt.Errorf("dataset %q: %w: not a UUID", spec.Dataset, cluster.ErrInvalid)
	}
	s.making.Lock()
	defer s.making.Unlock()
	for _, v := range s.List() {
		if v.Dataset != spec.Dataset {
			continue
		}
		if spec.Size != 0 && spec.Size != v.Size {
			return v, fmt.Errorf("volume %s: %w with %d bytes", v.ID, backend.ErrExists, v.Size)
		}
		return v, nil
	}
	r := record{Cluster: s.Cluster, Volume: client.Volume{
		ID: volumePrefix + uuid.NewString(), Dataset: spec.Dataset, Size: cmp.Or(spec.Size, defaultSize),
	}}
	if err := s.create(r, func(data string) error { return empty(data, r.Size) }); err != nil {
		return r.Volume, fmt.Errorf("make volume of dataset %s: %w", spec.Dataset, sentinel(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volumes[r.ID] = &volume{record: r}
	return r.Volume, nil
}

// create lets the volume appear whole and on disk, with what fill writes to its file, or not at all.
func (s *Store) create(r record, fill func(data string) error) (err error) {
	half := s.path(newPrefix + r.ID)
	if err := os.Mkdir(half, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(half))
		}
	}()
	if err := fill(filepath.Join(half, dataFile)); err != nil {
		return err
	}
	if err := r.write(half); err != nil {
		return err
	}
	if err := os.Rename(half, s.path(r.ID)); err != nil {
		return err
	}
	return flush(s.Dir)
}

// empty makes a file of zeros.
func empty(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// Destroy removes a volume that nobody has attached. Absent is success.
func (s *Store) Destroy(id string) error {
	v, err := s.hold(id)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.mu.Unlock()
	if v.Machine != "" {
		return fmt.Errorf("volume %s: %w: attached to %s", id, backend.ErrBusy, v.Machine)
	}
	// Out of sight in one step; what is left after a crash Open removes.
	old := s.path(oldPrefix + id)
	if err := os.Rename(s.path(id), old); err != nil {
		return fmt.Errorf("destroy volume %s: %w", id, err)
	}
	v.gone = true
	s.mu.Lock()
	delete(s.volumes, id)
	s.mu.Unlock()
	if err := errors.Join(flush(s.Dir), os.RemoveAll(old)); err != nil {
		return fmt.Errorf("destroy volume %s: %w", id, err)
	}
	return nil
}

// sentinel turns the system's errors into the contract's.
func sentinel(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	}
	return err
}
