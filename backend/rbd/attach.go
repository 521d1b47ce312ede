// SPDX-License-Identifier: Apache-2.0

package rbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// Files in a device's folder.
const (
	confFile = "ceph.conf"
	logFile  = "ceph.log"
)

// Attach starts a client of the image, locks the image in that client's name, and only then makes a device.
func (s *Store) Attach(ctx context.Context, v backend.Volume) (string, error) {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return "", absent(v.ID)
	}
	defer s.lock(id)()
	device, err := s.admitReady(ctx, v, id)
	if device != "" || err != nil {
		return device, err
	}
	m, h, err := s.attachable(ctx, v.ID)
	if err != nil {
		return "", err
	}
	if h != nil {
		device, err := s.devices.Serving(string(id))
		if err != nil || device != "" && s.isClient(id, h.client.id) {
			return device, errors.Join(err, s.finish(ctx, v.ID, id, m))
		}
	}
	if err := s.endDevice(ctx, id); err != nil {
		return "", err
	}
	if h != nil { // what that client sent may still be under way
		if err := s.fence(ctx, v.ID, h); err != nil {
			return "", err
		}
	}
	spec, err := s.spec(v.ID, string(id))
	if err != nil {
		return "", err
	}
	spec.Admit = func(ctx context.Context) error {
		c, err := s.identify(ctx, v.ID, id)
		if err != nil {
			return err
		}
		return s.take(ctx, v.ID, s.attachment(c))
	}
	device, err = s.devices.Start(ctx, spec)
	if err != nil {
		return "", err
	}
	return device, s.finish(ctx, v.ID, id, m)
}

// attachable is the mark of an image that is ours and that no other has, and this machine's own lock, if there is one.
func (s *Store) attachable(ctx context.Context, image string) (m *mark, h *holder, err error) {
	group, both := errgroup.WithContext(ctx)
	group.Go(func() (err error) { m, err = s.marked(both, image); return err })
	group.Go(func() (err error) {
		h, err = s.holderOf(both, image)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	if h != nil && h.machine != s.machine {
		return nil, nil, busy(image, h)
	}
	return m, h, nil
}

// marked is the mark of an image; ErrNotFound for one that is not ours.
func (s *Store) marked(ctx context.Context, image string) (*mark, error) {
	m, err := s.readMark(ctx, image)
	if err == nil && m == nil {
		err = absent(image)
	}
	return m, err
}

// spec lets QEMU open the image with the operator's configuration, and write down which client it is.
func (s *Store) spec(image, id string) (userdev.Spec, error) {
	conf, err := os.ReadFile(s.ceph.conf)
	if err != nil {
		return userdev.Spec{}, fmt.Errorf("configuration of Ceph: %w", err)
	}
	folder := s.devices.Folder(id)
	own := "\n[client." + s.ceph.user + "]\n"
	if s.ceph.keyring != "" {
		own += "keyring = " + s.ceph.keyring + "\n"
	}
	own += "log_to_file = true\nlog_file = " + filepath.Join(folder, logFile) + "\ndebug_monc = 5/5\n"
	own += "admin_socket =\nclient_mount_timeout = " + strconv.Itoa(int(answers.Seconds())) + "\n"
	return userdev.Spec{
		ID: id,
		Blockdev: map[string]any{
			"driver": "rbd", "pool": s.ceph.pool, "image": image, "user": s.ceph.user, "conf": filepath.Join(folder, confFile),
			// Without librbd's own cache: a write that it has taken in is answered before the store has said that we are shut out.
			"cache": map[string]any{"direct": true},
		},
		Files: map[string][]byte{confFile: append(conf, own...)},
	}, nil
}

// endDevice takes away what is left of a device whose attachment has ended. Its last writes are nobody's any more.
func (s *Store) endDevice(ctx context.Context, id cluster.DatasetID) error {
	err := s.devices.Stop(ctx, string(id))
	if errors.Is(err, userdev.ErrUnflushed) {
		s.log.WarnContext(ctx, "a device was left without its volume", "dataset", id, "error", err)
		return nil
	}
	return sentinel(err)
}

// Detach takes the device away and then the lock. Where it is not known that all that was sent has arrived, the client is fenced first.
func (s *Store) Detach(ctx context.Context, v backend.Volume) error {
	id, ours := s.datasetOf(v.ID)
	if !ours {
		return nil
	}
	defer s.lock(id)()
	if err := s.dropSource(ctx, id); err != nil {
		return err
	}
	device, err := s.devices.Serving(string(id))
	if err != nil {
		return err
	}
	numbers, err := s.clients(id)
	if err != nil {
		return err
	}
	var asked sync.WaitGroup
	var h *holder
	asked.Go(func() { h, err = s.holderOf(ctx, v.ID) }) // meanwhile; what becomes of this machine's lock in that time, release notices
	stopped := s.devices.Stop(ctx, string(id))
	asked.Wait()
	if stopped != nil && !errors.Is(stopped, userdev.ErrUnflushed) {
		return sentinel(stopped)
	}
	if errors.Is(err, backend.ErrNotFound) || err == nil && (h == nil || h.machine != s.machine) {
		return nil // it was taken from this machine, which is why the last writes could not be flushed
	}
	if err := errors.Join(stopped, err); err != nil {
		return err // once: nothing runs when it is asked again
	}
	if device != "" && slices.Contains(numbers, h.client.id) {
		return s.release(ctx, v.ID, h)
	}
	return s.fence(ctx, v.ID, h)
}

// Attached asks the kernel.
func (s *Store) Attached(context.Context) (map[string]string, error) {
	devices, err := s.running()
	if err != nil {
		return nil, err
	}
	attached := map[string]string{}
	for id, device := range devices {
		attached[s.imageOf(cluster.DatasetID(id))] = device
	}
	return attached, nil
}

// sentinel turns the errors of devices into the contract's.
func sentinel(err error) error {
	if errors.Is(err, mount.ErrBusy) {
		return fmt.Errorf("%w: %w", backend.ErrBusy, err)
	}
	return err
}
