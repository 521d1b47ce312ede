// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// imageInfo is what Ceph says of an image.
type imageInfo struct {
	ID     string
	Size   int64
	Parent *struct{ Image, Snapshot string }
}

func (s *Store) infoOf(ctx context.Context, image string) (imageInfo, error) {
	var info imageInfo
	err := s.ceph.rbdJSON(ctx, &info, "info", s.ceph.image(image))
	if noImage(err) {
		return info, absent(image)
	}
	return info, err
}

// CloneVolume lets Ceph make an image that reads from the snapshot what it has not itself. The snapshot may go before it does (Ceph keeps what is
// needed of it), and so may the volume: Destroy gives its clones what they lack.
func (s *Store) CloneVolume(ctx context.Context, v backend.Volume, snapshot string, spec backend.Spec) (backend.Volume, error) {
	image := s.imageOf(spec.Dataset)
	if _, ours := s.datasetOf(image); !ours {
		return backend.Volume{}, fmt.Errorf("dataset %q: %w", spec.Dataset, cluster.ErrInvalid)
	}
	defer s.lock(spec.Dataset)()
	origin := v.ID + "@" + snapshot
	there, err := s.readMark(ctx, image)
	switch {
	case err == nil && there != nil:
		return s.cloned(ctx, image, there, origin)
	case err != nil && !errors.Is(err, backend.ErrNotFound):
		return backend.Volume{}, err
	}
	exists, err := s.create(ctx, image, func() (bool, error) { return s.cloneOnce(ctx, v, snapshot, image, s.choices(spec.Profile)...) })
	if err != nil {
		return backend.Volume{}, err
	}
	info, err := s.infoOf(ctx, image)
	if err != nil {
		return backend.Volume{}, err
	}
	if exists && (info.Parent == nil || info.Parent.Image != v.ID || info.Parent.Snapshot != snapshot) {
		return backend.Volume{}, fmt.Errorf("volume %s: %w, which is no clone of %s", image, backend.ErrExists, origin)
	}
	size := max(info.Size, spec.Size)
	if size > info.Size {
		if err := s.resize(ctx, image, size); err != nil {
			return backend.Volume{}, err
		}
	}
	// Until then it has the mark of its origin, by which it is nobody's.
	m := &mark{Cluster: s.cluster, Dataset: spec.Dataset, Profile: spec.Profile, Origin: origin}
	return backend.Volume{ID: image, Dataset: spec.Dataset, Size: size, Profile: spec.Profile}, s.setMark(ctx, image, m)
}

// cloned is the clone that exists, if it is one of that snapshot.
func (s *Store) cloned(ctx context.Context, image string, m *mark, origin string) (backend.Volume, error) {
	if m.Origin != origin {
		return backend.Volume{}, fmt.Errorf("volume %s: %w, which is no clone of %s", image, backend.ErrExists, origin)
	}
	info, err := s.infoOf(ctx, image)
	if err != nil {
		return backend.Volume{}, err
	}
	v := backend.Volume{ID: image, Dataset: m.Dataset, Size: info.Size, Profile: m.Profile}
	h, err := s.holderOf(ctx, image)
	if err == nil && h != nil {
		v.Machine = h.who()
	}
	return v, err
}

// cloneOnce says whether an image of that name exists already. A clone of the second kind needs no protected snapshot; with
// deep-flatten its own snapshots can do without its origin too. choices are what its profile says.
func (s *Store) cloneOnce(ctx context.Context, v backend.Volume, snapshot, image string, choices ...string) (exists bool, err error) {
	args := []string{"clone", s.ceph.image(v.ID) + "@" + snapshot, s.ceph.image(image), "--image-feature", "layering,deep-flatten", "--rbd-default-clone-format", "2"}
	_, err = s.ceph.rbd(ctx, append(args, choices...)...)
	switch {
	case status(err) == int(unix.EEXIST):
		return true, nil
	case status(err) == int(unix.ENOENT):
		if _, missing := s.snapshot(ctx, v, snapshot); errors.Is(missing, backend.ErrNotFound) {
			return false, missing
		}
	}
	return false, err
}

// independent gives every clone of an image what it still reads from it, wherever it is attached, and removes the image's own snapshots. What others
// have made of it, or of it taken, stays: then it is ErrBusy.
func (s *Store) independent(ctx context.Context, image string) error {
	all, err := s.snaps(ctx, image, true)
	if err != nil {
		return err
	}
	for _, one := range all {
		if _, ours := volumeSnapshot("", one.ID, one.Name); !ours && one.Namespace.Type == "user" {
			return busy(image, fmt.Sprintf("it has snapshot %s, which is not Flocker's", one.Name))
		}
	}
	var children []struct{ Image string }
	if err := s.ceph.rbdJSON(ctx, &children, "children", "--all", s.ceph.image(image)); err != nil {
		return err
	}
	for _, child := range children {
		if err := s.complete(ctx, image, child.Image); err != nil {
			return err
		}
	}
	for _, one := range all {
		if one.Namespace.Type != "user" {
			continue // it went with its last clone
		}
		if err := s.DeleteSnapshot(ctx, backend.Volume{ID: image}, one.Name); err != nil {
			return err
		}
	}
	return nil
}

// complete lets a clone read nothing of its origin any more. It may be attached anywhere, and written to: Ceph gives an object what it lacks
// only where the clone has none.
func (s *Store) complete(ctx context.Context, image, clone string) error {
	if clone == s.sourceOf(image) { // what a rollback has left
		return s.remove(ctx, clone)
	}
	if _, ours := s.datasetOf(clone); !ours {
		return busy(image, fmt.Sprintf("image %s, which is not Flocker's, is made of it", clone))
	}
	_, err := s.ceph.run(ctx, removes, "rbd", "flatten", "--no-progress", s.ceph.image(clone))
	if noImage(err) || status(err) == int(unix.EINVAL) { // it is gone, or has no origin any more
		return nil
	}
	return err
}
