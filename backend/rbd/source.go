// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/cluster"
)

// A snapshot is read through a clone of it, which is there only as long: an image that has the name of none of the volumes.
const (
	sourcePrefix = "flocker-rollback-"
	sourceSuffix = ".snapshot" // of its device's id
)

// sourceOf is the name of the clone through which an image's snapshots are read.
func (s *Store) sourceOf(image string) string {
	return sourcePrefix + strings.TrimPrefix(image, "flocker-")
}

func sourceDevice(id cluster.DatasetID) string { return string(id) + sourceSuffix }

// openSource is a device that holds what a snapshot does.
func (s *Store) openSource(ctx context.Context, image string, id cluster.DatasetID, snapshot string) (device string, err error) {
	if err := s.dropSource(ctx, id); err != nil {
		return "", err
	}
	source := s.sourceOf(image)
	exists, err := s.cloneOnce(ctx, backend.Volume{ID: image}, snapshot, source)
	if err == nil && exists { // what a crash has left, of another snapshot perhaps
		if err = s.remove(ctx, source); err == nil {
			_, err = s.cloneOnce(ctx, backend.Volume{ID: image}, snapshot, source)
		}
	}
	if err != nil {
		return "", err
	}
	spec, err := s.spec(source, sourceDevice(id))
	if err != nil {
		return "", err
	}
	device, err = s.devices.Start(ctx, spec)
	if err != nil {
		return "", errors.Join(err, s.remove(context.WithoutCancel(ctx), source))
	}
	return device, nil
}

// dropSource ends what is left of the reading of a snapshot here, if anything is.
func (s *Store) dropSource(ctx context.Context, id cluster.DatasetID) error {
	all, err := s.devices.Running()
	if err != nil || all[sourceDevice(id)] == "" {
		return err
	}
	if err := s.devices.Stop(ctx, sourceDevice(id)); err != nil && !errors.Is(err, userdev.ErrUnflushed) {
		return sentinel(err)
	}
	return s.remove(ctx, s.sourceOf(s.imageOf(id)))
}

// running are this machine's devices of volumes.
func (s *Store) running() (map[string]string, error) {
	all, err := s.devices.Running()
	maps.DeleteFunc(all, func(id, _ string) bool { return strings.HasSuffix(id, sourceSuffix) })
	return all, err
}
