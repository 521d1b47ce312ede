// SPDX-License-Identifier: Apache-2.0

// Package loopback keeps volumes as files in a folder that all nodes share, and attaches them as loop devices.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// DefaultRoot is the folder of the original.
const DefaultRoot = "/var/lib/flocker/loopback"

// defaultSize is that of a volume for which no size is asked; the original's.
const defaultSize = 75 << 30

// The folders of the original. A volume is in one of them; which says where it is attached.
const (
	unattachedDir = "unattached"
	attachedDir   = "attached"
	clusterFile   = "cluster"
	lockFile      = "lock"
)

// Config says where the volumes are, and who asks.
type Config struct {
	Root    string // the folder; DefaultRoot when empty
	Machine string // this machine's name, the same after a restart
	Cluster string // whose volumes the folder may have; empty: it is not looked at
}

// Store is one machine's view of the folder.
type Store struct {
	root     string
	machine  string
	unshared error    // why there are no snapshots
	changes  sync.Map // a mutex for each volume that was attached or detached, by name
}

// Open makes what is missing in the folder, and refuses one of another cluster.
func Open(config Config) (*Store, error) {
	if config.Root == "" {
		config.Root = DefaultRoot
	}
	root, err := filepath.Abs(config.Root)
	if err != nil {
		return nil, fmt.Errorf("folder of volumes: %w", err)
	}
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`).MatchString(config.Machine) {
		return nil, fmt.Errorf("machine %q: %w: letters, digits, dots, dashes and underscores make a name", config.Machine, cluster.ErrInvalid)
	}
	s := &Store{root: root, machine: config.Machine}
	for _, dir := range []string{s.dir(unattachedDir), s.dir(attachedDir, s.machine)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("folder of volumes: %w", err)
		}
	}
	if err := s.try(); err != nil {
		return nil, err
	}
	return s, s.claim(config.Cluster)
}

// claim marks the folder as a cluster's. Two that come at once see one mark.
func (s *Store) claim(id string) error {
	if id == "" {
		return nil
	}
	path := s.dir(clusterFile)
	err := writeNew(path, func(f *os.File) error {
		_, err := f.WriteString(id + "\n")
		return err
	})
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("mark the folder as the cluster's: %w", err)
	}
	owner, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("whose folder of volumes it is: %w", err)
	}
	if have := strings.TrimSpace(string(owner)); have != id {
		return fmt.Errorf("%w: the volumes in %s are of cluster %q, not of %s", cluster.ErrInvalid, s.root, have, id)
	}
	return nil
}

func (s *Store) dir(parts ...string) string {
	return filepath.Join(append([]string{s.root}, parts...)...)
}

// Machine is the name that was configured.
func (s *Store) Machine(context.Context) (string, error) { return s.machine, nil }

// Create makes a sparse file.
func (s *Store) Create(ctx context.Context, spec backend.Spec) (backend.Volume, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return backend.Volume{}, err
	}
	defer unlock()
	if there, err := s.of(spec.Dataset); !errors.Is(err, backend.ErrNotFound) {
		if err == nil && spec.Size != 0 && spec.Size != there.Size {
			err = fmt.Errorf("volume %s: %w with %d bytes", there.ID, backend.ErrExists, there.Size)
		}
		return there, err
	}
	size := spec.Size
	if size == 0 {
		size = defaultSize
	}
	v := backend.Volume{ID: nameOf(spec.Dataset, size), Dataset: spec.Dataset, Size: size}
	if err := writeNew(s.dir(unattachedDir, v.ID), func(f *os.File) error { return f.Truncate(size) }); err != nil {
		return v, fmt.Errorf("make volume %s: %w", v.ID, sentinel(err))
	}
	return v, nil
}

// of is the volume of a dataset.
func (s *Store) of(id cluster.DatasetID) (backend.Volume, error) {
	all, err := s.list()
	if err != nil {
		return backend.Volume{}, err
	}
	for _, v := range all {
		if v.Dataset == id {
			return v, nil
		}
	}
	return backend.Volume{}, backend.ErrNotFound
}

// Destroy removes the file.
func (s *Store) Destroy(_ context.Context, v backend.Volume) error {
	machine, err := s.where(v)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return s.forget(v.ID) // a crash may have left that
	case err != nil:
		return err
	case machine != "":
		return fmt.Errorf("volume %s: %w: attached to %s", v.ID, backend.ErrBusy, machine)
	}
	if err := s.forget(v.ID); err != nil {
		return err
	}
	if err := os.Remove(s.dir(unattachedDir, v.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("destroy volume %s: %w", v.ID, err)
	}
	return flush(s.dir(unattachedDir))
}

// Attach takes the file, if nobody has, and makes it a loop device.
func (s *Store) Attach(ctx context.Context, v backend.Volume) (string, error) {
	defer s.alone(v)()
	if err := s.take(v); err != nil {
		return "", err
	}
	file, err := os.OpenFile(s.dir(attachedDir, s.machine, v.ID), os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("attach volume %s: %w", v.ID, sentinel(err))
	}
	defer file.Close()
	loop, err := s.loop(v.ID)
	if err != nil {
		return "", err
	}
	if loop.Device == "" {
		return mount.MakeLoop(ctx, file, s.tag())
	}
	device, err := mount.OpenLoop(loop.Device)
	if err != nil {
		return "", fmt.Errorf("attach volume %s: %w", v.ID, err)
	}
	return loop.Device, errors.Join(mount.BackedBy(device, file), device.Close())
}

// alone waits until nobody else here attaches or detaches the volume: two at once would make two devices.
func (s *Store) alone(v backend.Volume) (end func()) {
	mu, _ := s.changes.LoadOrStore(v.ID, new(sync.Mutex))
	mu.(*sync.Mutex).Lock()        //nolint:forcetypeassert // nothing else is in it
	return mu.(*sync.Mutex).Unlock //nolint:forcetypeassert // nothing else is in it
}

// take moves the file to this machine's folder. Of several that try, the filesystem lets one. It is on disk before there is
// a device: otherwise the file server's crash could give it to another while this one writes.
func (s *Store) take(v backend.Volume) error {
	err := os.Rename(s.dir(unattachedDir, v.ID), s.dir(attachedDir, s.machine, v.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("attach volume %s: %w", v.ID, sentinel(err))
	}
	if err != nil { // not there; or it was the answer that got lost, or ours already
		machine, err := s.where(v)
		if err != nil {
			return err
		}
		if machine != s.machine {
			return fmt.Errorf("volume %s: %w: attached to %s", v.ID, backend.ErrBusy, machine)
		}
	}
	return errors.Join(flush(s.dir(attachedDir, s.machine)), flush(s.dir(unattachedDir)))
}

// Detach takes the loop device away and gives the file back.
func (s *Store) Detach(ctx context.Context, v backend.Volume) error {
	defer s.alone(v)()
	path := s.dir(attachedDir, s.machine, v.ID)
	loop, err := s.loop(v.ID)
	if err != nil {
		return err
	}
	if loop.Device != "" {
		if err := mount.RemoveLoop(ctx, loop); err != nil {
			return fmt.Errorf("detach volume %s: %w", v.ID, sentinel(err))
		}
	}
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach volume %s: %w", v.ID, err)
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("flush volume %s: %w", v.ID, sentinel(err))
	}
	if err := os.Rename(path, s.dir(unattachedDir, v.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("detach volume %s: %w", v.ID, sentinel(err))
	}
	return errors.Join(flush(s.dir(unattachedDir)), flush(s.dir(attachedDir, s.machine)))
}

// Evict moves the file out of another machine's folder. That machine's loop device, if it lives, goes on writing to the file.
func (s *Store) Evict(_ context.Context, v backend.Volume, machine string) error {
	if machine == s.machine || machine != filepath.Base(machine) {
		return fmt.Errorf("evict %q: %w: it is not another machine", machine, cluster.ErrInvalid)
	}
	err := os.Rename(s.dir(attachedDir, machine, v.ID), s.dir(unattachedDir, v.ID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("take volume %s from %s: %w", v.ID, machine, sentinel(err))
	}
	return flush(s.dir(unattachedDir))
}

// Fences says that Evict is only for machines that are off.
func (s *Store) Fences() bool { return false }

// Grow makes the file longer, and its loop device.
func (s *Store) Grow(_ context.Context, v backend.Volume, size int64) error {
	machine, err := s.where(v)
	if err != nil {
		return err
	}
	path := s.dir(unattachedDir, v.ID)
	switch machine {
	case "":
	case s.machine:
		path = s.dir(attachedDir, s.machine, v.ID)
	default:
		return fmt.Errorf("volume %s: %w: attached to %s", v.ID, backend.ErrBusy, machine)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("enlarge volume %s: %w", v.ID, sentinel(err))
	}
	if err := errors.Join(lengthen(file, size), file.Close()); err != nil {
		return fmt.Errorf("enlarge volume %s: %w", v.ID, sentinel(err))
	}
	loop, err := s.loop(v.ID)
	if err != nil || loop.Device == "" {
		return err
	}
	return mount.EnlargeLoop(loop.Device)
}

func lengthen(file *os.File, size int64) error {
	info, err := file.Stat()
	if err != nil || info.Size() >= size {
		return err
	}
	return errors.Join(file.Truncate(size), file.Sync())
}

// sentinel turns the system's errors into the contract's.
func sentinel(err error) error {
	for _, pair := range [][2]error{
		{os.ErrNotExist, backend.ErrNotFound},
		{mount.ErrBusy, backend.ErrBusy},
		{unix.ENOSPC, backend.ErrNoSpace},
		{unix.EDQUOT, backend.ErrNoSpace},
	} {
		if errors.Is(err, pair[0]) {
			return fmt.Errorf("%w: %w", pair[1], err)
		}
	}
	return err
}
