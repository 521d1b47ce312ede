// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Create makes the dataset's image, whose name is its own, and then marks it. One without a mark is what a crash has left, or
// what was restored without it.
func (s *Store) Create(ctx context.Context, spec backend.Spec) (backend.Volume, error) {
	image := s.imageOf(spec.Dataset)
	if _, ours := s.datasetOf(image); !ours {
		return backend.Volume{}, fmt.Errorf("dataset %q: %w", spec.Dataset, cluster.ErrInvalid)
	}
	defer s.lock(spec.Dataset)()
	size := spec.Size
	if size == 0 {
		size = s.size
	}
	exists, err := s.create(ctx, image, func() (bool, error) { return s.createOnce(ctx, image, size, s.choices(spec.Profile)) })
	if err != nil {
		return backend.Volume{}, err
	}
	m := &mark{Cluster: s.cluster, Dataset: spec.Dataset, Profile: spec.Profile}
	if !exists {
		return backend.Volume{ID: image, Dataset: spec.Dataset, Size: size, Profile: spec.Profile}, s.setMark(ctx, image, m)
	}
	there, err := s.readMark(ctx, image)
	if err == nil && there == nil {
		there, err = m, s.setMark(ctx, image, m)
	}
	if err != nil {
		return backend.Volume{}, err
	}
	return s.existing(ctx, image, there, spec)
}

// existing says what there is, and refuses another than was asked for.
func (s *Store) existing(ctx context.Context, image string, m *mark, spec backend.Spec) (backend.Volume, error) {
	size, err := s.sizeOf(ctx, image)
	if err != nil {
		return backend.Volume{}, err
	}
	if spec.Size != 0 && size != spec.Size || m.Profile != spec.Profile {
		return backend.Volume{}, fmt.Errorf("volume %s: %w with %d bytes and profile %q", image, backend.ErrExists, size, m.Profile)
	}
	v := backend.Volume{ID: image, Dataset: m.Dataset, Size: size, Profile: m.Profile}
	h, err := s.holderOf(ctx, image)
	if err == nil && h != nil {
		v.Machine = h.who()
	}
	return v, err
}

// What another machine makes, or a crash has left half made, has a name and cannot be opened yet.
const (
	halfMade = 10 * time.Second
	again    = 200 * time.Millisecond
)

// create makes an image, by what makes one or says that there is one, or finds the one that exists.
func (s *Store) create(ctx context.Context, image string, once func() (bool, error)) (exists bool, err error) {
	if exists, err := once(); err != nil || !exists {
		return false, err
	}
	tick := time.NewTicker(again)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < halfMade; {
		if _, err := s.sizeOf(ctx, image); !errors.Is(err, backend.ErrNotFound) {
			return true, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, fmt.Errorf("create volume %s: %w", image, ctx.Err())
		}
	}
	if err := s.remove(ctx, image); err != nil {
		return false, err
	}
	return once()
}

func (s *Store) createOnce(ctx context.Context, image string, size int64, choices []string) (exists bool, err error) {
	args := []string{"create", s.ceph.image(image), "--size", inBytes(size), "--image-feature", "layering"}
	_, err = s.ceph.rbd(ctx, append(args, choices...)...)
	if status(err) == int(unix.EEXIST) {
		return true, nil
	}
	return false, err
}

func (s *Store) sizeOf(ctx context.Context, image string) (int64, error) {
	info, err := s.infoOf(ctx, image)
	return info.Size, err
}
