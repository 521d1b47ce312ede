// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Ready starts a client of the image, which connects to Ceph and opens it. It has no lock, and so no device and nobody who could
// use it, whoever has the volume meanwhile.
func (s *Store) Ready(ctx context.Context, v backend.Volume) error {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return absent(v.ID)
	}
	defer s.lock(id)()
	spec, err := s.spec(v.ID, string(id))
	if err != nil {
		return err
	}
	return s.devices.Ready(ctx, spec)
}

// Unready ends that client, unless it was given the lock by now.
func (s *Store) Unready(ctx context.Context, v backend.Volume) error {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return nil
	}
	defer s.lock(id)()
	return s.devices.Unready(ctx, string(id))
}

// admitReady attaches through the client that Ready started. There is no device where there is none that fits, or where the image is
// locked already: whose lock that is, and what is to be done about it, is another matter.
func (s *Store) admitReady(ctx context.Context, v backend.Volume, id cluster.DatasetID) (device string, err error) {
	ready, err := s.devices.IsReady(string(id), v.Size)
	if !ready || err != nil {
		return "", err
	}
	spec, err := s.spec(v.ID, string(id))
	if err != nil {
		return "", err
	}
	var m *mark
	spec.Admit = func(ctx context.Context) error {
		var c client
		group, both := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			m, err = s.marked(both, v.ID)
			return err
		})
		group.Go(func() (err error) {
			c, err = s.identify(both, v.ID, id)
			return err
		})
		if err := group.Wait(); err != nil {
			return err
		}
		return s.take(ctx, v.ID, s.attachment(c))
	}
	device, err = s.devices.Start(ctx, spec)
	if errors.Is(err, backend.ErrBusy) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return device, s.finish(ctx, v.ID, id, m)
}
