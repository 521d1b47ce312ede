// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// Differs compares the files.
func (s *Store) Differs(_ context.Context, v backend.Volume, snapshot string) (bool, error) {
	defer s.alone(v)()
	_, path, err := s.snapshot(v, snapshot)
	if err != nil {
		return false, err
	}
	same, err := mount.SameFiles(s.dir(attachedDir, s.machine, v.ID), path)
	if errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("volume %s: %w: %w", v.ID, backend.ErrNotAttached, err)
	}
	return !same, err
}

// Rollback puts a file that shares all blocks with the snapshot's in the volume's place, in one step. The loop device goes before.
func (s *Store) Rollback(ctx context.Context, v backend.Volume, snapshot string) error {
	defer s.alone(v)()
	_, from, err := s.snapshot(v, snapshot)
	if err != nil {
		return err
	}
	path := s.dir(attachedDir, s.machine, v.ID)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("volume %s: %w: %w", v.ID, backend.ErrNotAttached, err)
	}
	if err != nil {
		return fmt.Errorf("roll volume %s back: %w", v.ID, err)
	}
	loop, err := s.loop(v.ID)
	if err != nil {
		return err
	}
	if loop.Device != "" {
		if err := mount.RemoveLoop(ctx, loop); err != nil {
			return fmt.Errorf("roll volume %s back: %w", v.ID, sentinel(err))
		}
	}
	half := s.dir(attachedDir, s.machine, ".new-"+rand.Text())
	f, err := os.OpenFile(half, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("roll volume %s back: %w", v.ID, sentinel(err))
	}
	err = errors.Join(share(f, from), f.Truncate(info.Size()), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("roll volume %s back: %w", v.ID, sentinel(err)), os.Remove(half))
	}
	return flush(s.dir(attachedDir, s.machine))
}
