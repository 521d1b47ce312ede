// SPDX-License-Identifier: Apache-2.0

// Package nbd attaches the volumes of a block store by the network block device protocol.
package nbd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// folderLetters are enough to tell machines apart.
const folderLetters = 16

// DefaultReconnect is for how long requests wait for a store that is away, before they fail. It is longer than a store takes to
// start anew.
const DefaultReconnect = time.Minute

// Config says which store it is, and who asks.
type Config struct {
	Client  *client.Client
	Machine string // as the certificate that the client shows names this node
	Dir     string // where devices are; a folder of userdev.DefaultDir when empty
	// Reconnect is for how long requests wait for a store that is away, before they fail; DefaultReconnect when 0.
	Reconnect time.Duration
	Log       *slog.Logger
}

// Store is one machine's view of a block store.
type Store struct {
	client    *client.Client
	machine   string
	reconnect time.Duration
	devices   *userdev.Devices
}

// Open prepares for attaching; the store itself is not asked yet.
func Open(config Config) (*Store, error) {
	if config.Machine == "" {
		return nil, fmt.Errorf("name of this machine: %w: it is empty", cluster.ErrInvalid)
	}
	if config.Dir == "" {
		config.Dir = filepath.Join(userdev.DefaultDir, folderOf(config.Machine))
	}
	devices, err := userdev.Open(config.Dir, config.Log)
	if err != nil {
		return nil, err
	}
	return &Store{client: config.Client, machine: config.Machine, reconnect: cmp.Or(config.Reconnect, DefaultReconnect), devices: devices}, nil
}

// folderOf is where a machine's devices are. Machines that share a kernel, as containers do, see each other's loop devices and
// must tell them apart by the path alone, and a path has to leave room for a socket's name.
func folderOf(machine string) string {
	short := strings.ReplaceAll(machine, "-", "")
	return "nbd-" + short[:min(len(short), folderLetters)]
}

// Machine is the node's id.
func (s *Store) Machine(context.Context) (string, error) { return s.machine, nil }

// List asks the store. Devices here of which the store has ended the attachment can never be written to again; they answer with
// errors from now on, instead of waiting for a store that will not let them in.
func (s *Store) List(ctx context.Context) ([]backend.Volume, error) {
	// Looked at before the store is asked: what is attached meanwhile is not taken for something that has ended.
	running, err := s.devices.Running()
	if err != nil {
		return nil, err
	}
	volumes, err := s.client.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]backend.Volume, 0, len(volumes))
	for _, v := range volumes {
		list = append(list, volume(v))
		if v.Machine == s.machine {
			delete(running, deviceID(v.ID, v.Attachment))
		}
	}
	for id := range running {
		if err := s.devices.Abandon(ctx, id); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func volume(v client.Volume) backend.Volume {
	return backend.Volume{ID: v.ID, Dataset: v.Dataset, Size: v.Size, Profile: v.Profile, Machine: v.Machine, Snapshots: snapshots(v)}
}

// Create asks the store, which makes one volume of a dataset only. All volumes of a block store are alike: what a profile chooses
// of a volume is what is made on it, and that is not the store's.
func (s *Store) Create(ctx context.Context, spec backend.Spec) (backend.Volume, error) {
	v, err := s.client.Create(ctx, client.Spec{Dataset: spec.Dataset, Size: spec.Size})
	return volume(v), err
}

// Destroy asks the store.
func (s *Store) Destroy(ctx context.Context, v backend.Volume) error {
	return s.client.Destroy(ctx, v.ID)
}

// Attach asks the store for an export to this machine, and makes a device of it.
func (s *Store) Attach(ctx context.Context, v backend.Volume) (string, error) {
	export, err := s.client.Attach(ctx, v.ID)
	if err != nil {
		return "", err
	}
	id := deviceID(v.ID, export.Attachment)
	running, err := s.running(v.ID)
	if err != nil {
		return "", err
	}
	for other := range running { // of an attachment that was taken from this machine
		if other == id {
			continue
		}
		if err := s.stop(ctx, other); err != nil && !errors.Is(err, userdev.ErrUnflushed) {
			return "", fmt.Errorf("end what is left of an earlier attachment: %w", err)
		}
	}
	return s.devices.Start(ctx, s.spec(v.ID, id, export))
}

// spec lets QEMU in where it knows the export's key, and by nobody who does not.
func (s *Store) spec(volume, device string, e client.Export) userdev.Spec {
	return userdev.Spec{
		ID: device,
		Blockdev: map[string]any{
			"driver": "nbd", "export": volume, "tls-creds": "key", "reconnect-delay": int(s.reconnect.Seconds()),
			"server": map[string]any{"type": "inet", "host": s.client.Host(), "port": strconv.Itoa(e.Port)},
		},
		Objects: []map[string]any{{"qom-type": "tls-creds-psk", "id": "key", "endpoint": "client", "username": e.User, "dir": s.devices.Folder(device)}},
		Files:   map[string][]byte{"keys.psk": []byte(e.User + ":" + e.Secret + "\n")},
	}
}

// deviceID names a device for the volume and for the attachment, so that what is left of an earlier one is never taken for this one.
func deviceID(volume string, attachment uint64) string {
	return volume + "." + strconv.FormatUint(attachment, 10)
}

func volumeOf(device string) (volume string, attachment uint64, ok bool) {
	at := strings.LastIndexByte(device, '.')
	if at < 0 {
		return "", 0, false
	}
	attachment, err := strconv.ParseUint(device[at+1:], 10, 64)
	return device[:at], attachment, err == nil
}

// running are a volume's devices here, by their ids. More than one there is only after it was taken from this machine.
func (s *Store) running(id string) (map[string]string, error) {
	devices, err := s.devices.Running()
	if err != nil {
		return nil, err
	}
	for device := range devices {
		if of, _, ok := volumeOf(device); !ok || of != id {
			delete(devices, device)
		}
	}
	return devices, nil
}

// Detach takes the device away and gives the attachment back.
func (s *Store) Detach(ctx context.Context, v backend.Volume) error {
	running, err := s.running(v.ID)
	if err != nil {
		return err
	}
	var unflushed error
	for device := range running {
		switch err := s.stop(ctx, device); {
		case errors.Is(err, userdev.ErrUnflushed):
			unflushed = errors.Join(unflushed, err)
		case err != nil:
			return err
		}
	}
	now, err := s.client.Volume(ctx, v.ID)
	if errors.Is(err, backend.ErrNotFound) || err == nil && now.Machine != s.machine {
		return nil // it was taken from this machine, which is why the last writes could not be flushed
	}
	if err != nil {
		return errors.Join(unflushed, err)
	}
	// Without a device here, this may be what is left of an attachment that was interrupted.
	if err := s.devices.Stop(ctx, deviceID(v.ID, now.Attachment)); err != nil {
		return sentinel(err)
	}
	if unflushed != nil {
		return unflushed // once: nothing runs when it is asked again
	}
	return s.client.Detach(ctx, v.ID, client.DetachRequest{Machine: s.machine, Attachment: now.Attachment})
}

func (s *Store) stop(ctx context.Context, device string) error {
	return sentinel(s.devices.Stop(ctx, device))
}

// Attached asks the kernel.
func (s *Store) Attached(context.Context) (map[string]string, error) {
	devices, err := s.devices.Running()
	if err != nil {
		return nil, err
	}
	attached, newest := map[string]string{}, map[string]uint64{}
	for id, device := range devices {
		if of, attachment, ok := volumeOf(id); ok && attachment >= newest[of] {
			attached[of], newest[of] = device, attachment
		}
	}
	return attached, nil
}

// Evict ends the other machine's export: the process through which it wrote is gone.
func (s *Store) Evict(ctx context.Context, v backend.Volume, machine string) error {
	if machine == "" || machine == s.machine {
		return fmt.Errorf("evict %q: %w: it is not another machine", machine, cluster.ErrInvalid)
	}
	now, err := s.client.Volume(ctx, v.ID)
	if errors.Is(err, backend.ErrNotFound) || err == nil && now.Machine != machine {
		return nil
	}
	if err != nil {
		return err
	}
	return s.client.Detach(ctx, v.ID, client.DetachRequest{Machine: machine, Attachment: now.Attachment})
}

// Fences says that Evict is enough even where the machine lives.
func (s *Store) Fences() bool { return true }

// Grow asks the store, and lets the device here follow.
func (s *Store) Grow(ctx context.Context, v backend.Volume, size int64) error {
	now, err := s.client.Volume(ctx, v.ID)
	if err != nil {
		return err
	}
	if now.Machine != "" && now.Machine != s.machine {
		return fmt.Errorf("volume %s: %w: attached to %s", v.ID, backend.ErrBusy, now.Machine)
	}
	if err := s.client.Grow(ctx, v.ID, size); err != nil {
		return err
	}
	id := deviceID(v.ID, now.Attachment)
	running, err := s.running(v.ID)
	if err != nil || running[id] == "" {
		return err
	}
	// The size is told when a client connects, and it connects again with its next request.
	if err := touch(running[id]); err != nil {
		return fmt.Errorf("enlarge the device of volume %s: %w", v.ID, err)
	}
	return s.devices.Resize(ctx, id, max(size, now.Size))
}

// touch has a request made that no cache answers.
func touch(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fsync(int(f.Fd())), f.Close())
}

// sentinel turns the errors of devices into the contract's.
func sentinel(err error) error {
	if errors.Is(err, mount.ErrBusy) {
		return fmt.Errorf("%w: %w", backend.ErrBusy, err)
	}
	return err
}
