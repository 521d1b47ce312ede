// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// fileForm is the original's form of a volume's name: its dataset and its size when it was made.
var fileForm = regexp.MustCompile(`^block-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_[0-9]+$`)

func nameOf(id cluster.DatasetID, size int64) string { return fmt.Sprintf("block-%s_%d", id, size) }

// List reads the folders; nothing beside them says what there is.
func (s *Store) List(context.Context) ([]backend.Volume, error) { return s.list() }

func (s *Store) list() ([]backend.Volume, error) {
	found := map[string]backend.Volume{}
	// A volume that moves meanwhile may be missed in the first look, and in the second, but not in three.
	for _, look := range []func(map[string]backend.Volume) error{s.unattached, s.attached, s.unattached} {
		if err := look(found); err != nil {
			return nil, fmt.Errorf("list volumes in %s: %w", s.root, err)
		}
	}
	for name, v := range found {
		var err error
		if v.Snapshots, err = s.snapshots(name); err != nil {
			return nil, err
		}
		found[name] = v
	}
	return slices.SortedFunc(maps.Values(found), func(a, b backend.Volume) int { return cmp.Compare(a.ID, b.ID) }), nil
}

func (s *Store) unattached(found map[string]backend.Volume) error {
	return volumesIn(s.dir(unattachedDir), "", found)
}

func (s *Store) attached(found map[string]backend.Volume) error {
	machines, err := os.ReadDir(s.dir(attachedDir))
	if err != nil {
		return err
	}
	for _, m := range machines {
		if !m.IsDir() {
			continue
		}
		if err := volumesIn(s.dir(attachedDir, m.Name()), m.Name(), found); err != nil {
			return err
		}
	}
	return nil
}

func volumesIn(dir, machine string, found map[string]backend.Volume) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		parts := fileForm.FindStringSubmatch(e.Name())
		if parts == nil || !e.Type().IsRegular() {
			continue // somebody else's
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // it moves
		}
		if err != nil {
			return err
		}
		found[e.Name()] = backend.Volume{ID: e.Name(), Dataset: cluster.DatasetID(parts[1]), Size: info.Size(), Machine: machine}
	}
	return nil
}

// where tells which machine has the volume; empty: none has.
func (s *Store) where(v backend.Volume) (machine string, err error) {
	all, err := s.list()
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(all, func(other backend.Volume) bool { return other.ID == v.ID })
	if i < 0 {
		return "", fmt.Errorf("volume %s: %w in %s", v.ID, backend.ErrNotFound, s.root)
	}
	return all[i].Machine, nil
}

// Attached asks the kernel. The folder is not touched, because its server may be away; only for a device of a volume that is
// in another's folder is it asked whose the device is.
func (s *Store) Attached(context.Context) (map[string]string, error) {
	loops, err := mount.Loops()
	if err != nil {
		return nil, err
	}
	attached := map[string]string{}
	for _, l := range loops {
		if name, ours := s.ours(l); ours {
			attached[name] = l.Device
		}
	}
	return attached, nil
}

// ours tells a volume of this machine by the end of its file's path: the folder may be mounted elsewhere, or in another mount
// namespace. The file of a machine that was evicted while it lives is elsewhere, and its device has the machine's tag.
func (s *Store) ours(l mount.Loop) (name string, ours bool) {
	dir, name := filepath.Split(l.File)
	if !fileForm.MatchString(name) {
		return name, false
	}
	if strings.HasSuffix(dir, "/"+s.machine+"/") {
		return name, true
	}
	tag, err := mount.LoopTag(l.Device)
	return name, err == nil && tag == s.tag()
}

// tag marks the machine's loop devices.
func (s *Store) tag() string {
	sum := sha256.Sum256([]byte(s.machine))
	return fmt.Sprintf("flocker %x", sum[:16])
}

func (s *Store) loop(name string) (mount.Loop, error) {
	loops, err := mount.Loops()
	if err != nil {
		return mount.Loop{}, err
	}
	for _, l := range loops {
		if other, ours := s.ours(l); ours && other == name {
			return l, nil
		}
	}
	return mount.Loop{}, nil
}

// writeNew lets a file appear under its name whole and on disk, or not at all. One that exists is os.ErrExist.
func writeNew(path string, write func(*os.File) error) error {
	half := filepath.Join(filepath.Dir(path), ".new-"+rand.Text())
	f, err := os.OpenFile(half, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(half) //nolint:errcheck // a name with nothing behind it takes no room and is nobody's volume
	err = errors.Join(write(f), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(half, path); err != nil { // unlike a rename it never replaces, on NFS too
		return err
	}
	return flush(filepath.Dir(path))
}

// flush returns once a folder's entries are on disk.
func flush(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	return nil
}

const lockAgain = 5 * time.Millisecond

// lock lets one machine at a time make volumes.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(s.dir(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the folder of volumes: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock the folder of volumes: %w", err)
		}
		select {
		case <-time.After(lockAgain):
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another who makes a volume: %w", ctx.Err())
		}
	}
}
