// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// rollbackKey begins keys of an image's metadata that say that a rollback is under way: the client through which it writes follows, so that
// whoever comes back late removes none but its own.
const rollbackKey = "flocker-rollback-"

// stretch is a part of an image that was written to since a snapshot.
type stretch struct{ Offset, Length int64 }

// Differs asks Ceph what was written since the snapshot, and compares that alone.
func (s *Store) Differs(ctx context.Context, v backend.Volume, snapshot string) (bool, error) {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return false, absent(v.ID)
	}
	defer s.lock(id)()
	m, _, err := s.here(ctx, v.ID, id)
	if err != nil {
		return false, err
	}
	if err := s.finish(ctx, v.ID, id, m); err != nil {
		return false, err
	}
	return s.compare(ctx, v.ID, id, snapshot, false)
}

// Rollback writes back what was written since the snapshot, through the device: what this machine's client writes Ceph refuses once it is
// fenced, unlike what a program of Ceph's own would write that is frozen meanwhile.
func (s *Store) Rollback(ctx context.Context, v backend.Volume, snapshot string) error {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return absent(v.ID)
	}
	defer s.lock(id)()
	m, h, err := s.here(ctx, v.ID, id)
	if err != nil {
		return err
	}
	if _, err := s.snapshot(ctx, v, snapshot); err != nil {
		return err
	}
	if err := s.unused(id); err != nil {
		return err
	}
	key := rollbackKey + strconv.FormatUint(h.client.id, 10)
	if _, err := s.ceph.rbd(ctx, "image-meta", "set", s.ceph.image(v.ID), key, snapshot); err != nil {
		return err
	}
	m.unfinished = maps.Clone(m.unfinished)
	if m.unfinished == nil {
		m.unfinished = map[string]string{}
	}
	clear(m.unfinished) // what was begun before need not be finished
	m.unfinished[key] = snapshot
	return s.finish(ctx, v.ID, id, m)
}

// here is the mark and the lock of an image of which this machine has the device.
func (s *Store) here(ctx context.Context, image string, id cluster.DatasetID) (*mark, *holder, error) {
	m, h, err := s.attachable(ctx, image)
	if err != nil {
		return nil, nil, err
	}
	device, err := s.devices.Serving(string(id))
	if err == nil && (device == "" || h == nil || !s.isClient(id, h.client.id)) {
		err = fmt.Errorf("volume %s: %w", image, backend.ErrNotAttached)
	}
	return m, h, err
}

// unused is ErrBusy where somebody has the device claimed.
func (s *Store) unused(id cluster.DatasetID) error {
	device, err := s.devices.Serving(string(id))
	if err != nil {
		return err
	}
	f, err := mount.OpenExclusive(device)
	if err != nil {
		return sentinel(err)
	}
	return f.Close()
}

// finish carries out the rollbacks that an image's metadata has, and then takes them from it.
func (s *Store) finish(ctx context.Context, image string, id cluster.DatasetID, m *mark) error {
	for _, key := range slices.Sorted(maps.Keys(m.unfinished)) {
		if _, err := s.compare(ctx, image, id, m.unfinished[key], true); err != nil {
			return fmt.Errorf("roll volume %s back to %s: %w", image, m.unfinished[key], err)
		}
		_, err := s.ceph.rbd(ctx, "image-meta", "rm", s.ceph.image(image), key)
		if err != nil && status(err) != int(unix.ENOENT) {
			return err
		}
	}
	return nil
}

// compare says whether the device of an image holds anything else than a snapshot, and with repair makes it hold that.
func (s *Store) compare(ctx context.Context, image string, id cluster.DatasetID, snapshot string, repair bool) (differs bool, err error) {
	written, err := s.written(ctx, image, snapshot)
	if err != nil || len(written) == 0 {
		return false, err
	}
	device, err := s.devices.Serving(string(id))
	if err != nil {
		return false, err
	}
	source, err := s.openSource(ctx, image, id, snapshot)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.dropSource(context.WithoutCancel(ctx), id)) }()
	to, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	from, err := os.Open(source)
	if err != nil {
		return false, errors.Join(err, to.Close())
	}
	for _, part := range written {
		different, failed := level(ctx, to, from, part, repair)
		if differs, err = differs || different, failed; err != nil || differs && !repair {
			break
		}
	}
	if err == nil && repair {
		err = to.Sync()
	}
	return differs, errors.Join(err, from.Close(), to.Close())
}

// grain is how much is compared at once.
const grain = 1 << 20

// level compares one stretch of two devices, and with repair makes them the same. Beyond the end of what it is compared with there are zeros.
func level(ctx context.Context, to, from *os.File, part stretch, repair bool) (differs bool, err error) {
	for at, end := part.Offset, part.Offset+part.Length; at < end; at += grain {
		is, was := make([]byte, min(grain, end-at)), make([]byte, min(grain, end-at))
		n, err := to.ReadAt(is, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if _, err := from.ReadAt(was, at); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if bytes.Equal(is, was) {
			continue
		}
		if differs = true; !repair {
			return true, nil
		}
		if _, err := to.WriteAt(was[:n], at); err != nil {
			return true, err
		}
		if err := ctx.Err(); err != nil {
			return true, err
		}
	}
	return differs, nil
}

// written is what may differ from a snapshot.
func (s *Store) written(ctx context.Context, image, snapshot string) ([]stretch, error) {
	out, err := s.ceph.run(ctx, removes, "rbd", "diff", "--from-snap", snapshot, s.ceph.image(image), "--format", "json")
	switch {
	case noImage(err):
		return nil, absent(image)
	case status(err) == int(unix.ENOENT):
		return nil, fmt.Errorf("snapshot %s of volume %s: %w", snapshot, image, backend.ErrNotFound)
	case err != nil:
		return nil, err
	}
	var list []stretch
	return list, decode("rbd diff", out, &list)
}
