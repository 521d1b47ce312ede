// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"

	"github.com/flocker-project/flocker/backend"
)

// Grow enlarges the image, which the program never makes smaller, and lets the device here follow.
func (s *Store) Grow(ctx context.Context, v backend.Volume, size int64) error {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return absent(v.ID)
	}
	defer s.lock(id)()
	_, h, err := s.attachable(ctx, v.ID)
	if err != nil {
		return err
	}
	now, err := s.sizeOf(ctx, v.ID)
	if err != nil {
		return err
	}
	if now < size {
		if err := s.resize(ctx, v.ID, size); err != nil {
			return err
		}
	}
	device, err := s.devices.Serving(string(id))
	if err != nil || h == nil || device == "" || !s.isClient(id, h.client.id) {
		return err
	}
	return s.devices.Resize(ctx, string(id), max(size, now))
}

func (s *Store) resize(ctx context.Context, image string, size int64) error {
	_, err := s.ceph.rbd(ctx, "resize", "--no-progress", "--size", inBytes(size), s.ceph.image(image))
	return err
}
