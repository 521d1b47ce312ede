// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// markKey is the key of an image's metadata that says whose it is.
const markKey = "flocker"

// mark is what stands there.
type mark struct {
	Cluster string            `json:"cluster"`
	Dataset cluster.DatasetID `json:"dataset"`
	Profile string            `json:"profile,omitempty"`
}

// listed is an image, or a snapshot of one, in the pool's list.
type listed struct {
	Image    string
	ID       string
	Size     int64
	Snapshot string
	LockType string `json:"lock_type"`
}

// atOnce bounds how many programs one listing runs.
const atOnce = 4

// List asks for the pool's images with their sizes, and then for what that does not tell: who has those that are locked, and the
// marks of those that were not seen before. Devices here of which the lock has gone are fenced; they end.
func (s *Store) List(ctx context.Context) ([]backend.Volume, error) {
	// Looked at before the store is asked: what is attached meanwhile is not taken for something that has ended.
	running, err := s.devices.Running()
	if err != nil {
		return nil, err
	}
	images, err := s.images(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]*backend.Volume, len(images))
	clients := make([]uint64, len(images))
	group, bounded := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, image := range images {
		group.Go(func() (err error) {
			found[i], clients[i], err = s.look(bounded, image)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	list := make([]backend.Volume, 0, len(found))
	for i, v := range found {
		if v == nil {
			continue
		}
		list = append(list, *v)
		if v.Machine == s.machine && s.isClient(v.Dataset, clients[i]) {
			delete(running, string(v.Dataset))
		}
	}
	for id := range running {
		if err := s.abandon(ctx, cluster.DatasetID(id)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// abandon ends a device that the lock is not of. It is asked again, because the device may have become another since.
func (s *Store) abandon(ctx context.Context, id cluster.DatasetID) error {
	defer s.lock(id)()
	h, err := s.holderOf(ctx, s.imageOf(id))
	if gone(err) != nil || h != nil && h.machine == s.machine && s.isClient(id, h.client.id) {
		return gone(err)
	}
	return s.devices.Abandon(ctx, string(id))
}

// images are those of the pool that have a name of this cluster's.
func (s *Store) images(ctx context.Context) ([]listed, error) {
	out, err := s.ceph.rbd(ctx, "ls", "-l", s.ceph.pool, "--format", "json")
	var all []listed
	if err == nil || status(err) == int(unix.ENOENT) && len(out) > 0 {
		// An image that is being removed makes it fail after it has told of all the others.
		err = decode("rbd ls", out, &all)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(l listed) bool {
		_, ours := s.datasetOf(l.Image)
		return !ours || l.Snapshot != ""
	}), nil
}

// look completes what the list says of an image. Nil is one that is not a volume of ours, or not any more.
func (s *Store) look(ctx context.Context, l listed) (*backend.Volume, uint64, error) {
	m, err := s.markOf(ctx, l)
	if err != nil || m == nil {
		return nil, 0, gone(err)
	}
	v := &backend.Volume{ID: l.Image, Dataset: m.Dataset, Size: l.Size, Profile: m.Profile}
	if l.LockType == "" {
		return v, 0, nil
	}
	h, err := s.holderOf(ctx, l.Image)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return nil, 0, nil
	case err != nil || h == nil:
		return v, 0, err
	}
	v.Machine = h.who()
	return v, h.client.id, nil
}

// gone passes over an image that is not there.
func gone(err error) error {
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	return err
}

// markOf reads an image's mark, once: Ceph's id of it is of no other image ever. Nil is an image without ours.
func (s *Store) markOf(ctx context.Context, l listed) (*mark, error) {
	if known, ok := s.marks.Load(l.ID); ok && l.ID != "" {
		return known.(*mark), nil
	}
	m, err := s.readMark(ctx, l.Image)
	if err == nil && m != nil && l.ID != "" {
		s.marks.Store(l.ID, m)
	}
	return m, err
}

func (s *Store) readMark(ctx context.Context, image string) (*mark, error) {
	var metadata map[string]string
	err := s.ceph.rbdJSON(ctx, &metadata, "image-meta", "ls", s.ceph.image(image))
	if noImage(err) {
		return nil, absent(image)
	}
	if err != nil || metadata[markKey] == "" {
		return nil, err
	}
	var m mark
	if err := decode("the mark of image "+image, []byte(metadata[markKey]), &m); err != nil {
		return nil, err
	}
	if m.Cluster != s.cluster || s.imageOf(m.Dataset) != image {
		return nil, nil // of another's, whose image was renamed or copied
	}
	return &m, nil
}

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
	if err := s.create(ctx, image, size); err != nil {
		return backend.Volume{}, err
	}
	m, err := s.readMark(ctx, image)
	if err != nil {
		return backend.Volume{}, err
	}
	if m == nil {
		m = &mark{Cluster: s.cluster, Dataset: spec.Dataset, Profile: spec.Profile}
		if err := s.setMark(ctx, image, m); err != nil {
			return backend.Volume{}, err
		}
	}
	return s.created(ctx, image, m, spec)
}

func (s *Store) setMark(ctx context.Context, image string, m *mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = s.ceph.rbd(ctx, "image-meta", "set", s.ceph.image(image), markKey, string(text))
	return err
}

// created says what there is, and refuses another than was asked for.
func (s *Store) created(ctx context.Context, image string, m *mark, spec backend.Spec) (backend.Volume, error) {
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

// create makes an image, or finds the one that exists.
func (s *Store) create(ctx context.Context, image string, size int64) error {
	make := func() (exists bool, err error) {
		_, err = s.ceph.rbd(ctx, "create", s.ceph.image(image), "--size", inBytes(size), "--image-feature", "layering")
		if status(err) == int(unix.EEXIST) {
			return true, nil
		}
		return false, err
	}
	exists, err := make()
	if err != nil || !exists {
		return err
	}
	tick := time.NewTicker(again)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < halfMade; {
		if _, err := s.sizeOf(ctx, image); !errors.Is(err, backend.ErrNotFound) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("create volume %s: %w", image, ctx.Err())
		}
	}
	if err := s.remove(ctx, image); err != nil {
		return err
	}
	_, err = make()
	return err
}

func (s *Store) sizeOf(ctx context.Context, image string) (int64, error) {
	var info struct{ Size int64 }
	err := s.ceph.rbdJSON(ctx, &info, "info", s.ceph.image(image))
	if noImage(err) {
		return 0, absent(image)
	}
	return info.Size, err
}

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
	if !refused(err) {
		return err
	}
	err = busy(image, err)
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
