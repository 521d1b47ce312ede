// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"
	"strings"

	"github.com/flocker-project/flocker/backend"
)

// Destroy locks the image for good and removes it. Whoever asks for it again goes on with that, on whatever machine.
func (s *Store) Destroy(ctx context.Context, v backend.Volume) error {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return nil
	}
	defer s.lock(id)()
	m, err := s.readMark(ctx, v.ID)
	if errors.Is(err, backend.ErrNotFound) {
		return s.remove(ctx, v.ID) // the name, if a removal was interrupted after the rest
	}
	if err != nil || m == nil {
		return err
	}
	h, err := s.holderOf(ctx, v.ID)
	if err != nil {
		return gone(err)
	}
	if h != nil && !h.leaving {
		return busy(v.ID, h)
	}
	if err := s.endDevice(ctx, id); err != nil { // left by an attachment that has ended
		return err
	}
	words := strings.Join([]string{destroyedBy, s.machine}, " ")
	if h == nil {
		if err := s.take(ctx, v.ID, words); err != nil {
			return gone(err)
		}
	}
	return s.destroy(ctx, v.ID, words)
}

// destroy removes an image that is locked for it. One that cannot be removed is given back by whom the lock is of.
func (s *Store) destroy(ctx context.Context, image, words string) error {
	err := s.remove(ctx, image)
	if refused(err) { // because of its snapshots, mostly
		if err = s.independent(ctx, image); err == nil {
			err = s.remove(ctx, image)
		}
	}
	switch {
	case refused(err):
		err = busy(image, err)
	case !errors.Is(err, backend.ErrBusy):
		return gone(err)
	}
	h, failed := s.holderOf(ctx, image)
	if failed == nil && h != nil && h.ID == words {
		failed = s.release(ctx, image, h)
	}
	return errors.Join(err, gone(failed))
}

func (s *Store) remove(ctx context.Context, image string) error {
	_, err := s.ceph.run(ctx, removes, "rbd", "rm", "--no-progress", s.ceph.image(image))
	if noImage(err) {
		return nil
	}
	return err
}
