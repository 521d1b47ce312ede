// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/nbd"
	"github.com/flocker-project/flocker/backend/rbd"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/mount"
	"github.com/flocker-project/flocker/pki"
)

// The bare client is this program on a node. It uses volumes with the driver alone, and nothing of Flocker around that.
const (
	bareProgram = "/usr/local/bin/flocker-bench"
	barePoint   = "/run/flocker-bare"
)

const bareDevices = "/run/flocker/devices/bare"

// bareClient is one call of it.
type bareClient struct {
	store  backend.Volumes
	volume backend.Volume
}

// runBare does one thing with a volume and prints how long it took, or the volume's name.
func runBare(ctx context.Context, what, kind, address, volume string) error {
	creds, err := pki.LoadCredentials("/etc/flocker", pki.NodeName)
	if err != nil {
		return err
	}
	var store backend.Volumes
	switch kind {
	case "nbd":
		store, err = bareNBD(ctx, creds, address)
	case "rbd":
		store, err = rbd.Open(rbd.Config{
			Pool: devcluster.CephPool, User: devcluster.CephUser, Machine: string(creds.Identity().Node), Cluster: "bare",
			Dir: bareDevices, Log: slog.New(slog.DiscardHandler),
		})
	default:
		err = fmt.Errorf("-backend %q: %w: nbd or rbd", kind, cluster.ErrInvalid)
	}
	if err != nil {
		return err
	}
	b := bareClient{store, backend.Volume{ID: volume}}
	do := map[string]func(context.Context) error{"make": b.make, "attach": b.attach, "detach": b.detach}[what]
	if do == nil {
		return fmt.Errorf("-bare %s: %w: make, attach or detach", what, cluster.ErrInvalid)
	}
	return do(ctx)
}

func bareNBD(ctx context.Context, creds *pki.Credentials, address string) (backend.Volumes, error) {
	c, err := client.New(address, pki.ClientTLS(creds, pki.ExpectControl()))
	if err != nil {
		return nil, err
	}
	if _, err := c.Volumes(ctx); err != nil { // an agent's connection is there too
		return nil, err
	}
	return nbd.Open(nbd.Config{Client: c, Machine: string(creds.Identity().Node), Dir: bareDevices, Log: slog.New(slog.DiscardHandler)})
}

// make makes a volume like that of a dataset for which no size is asked, with the same filesystem: how long it takes to mount depends on both.
func (b bareClient) make(ctx context.Context) (err error) {
	id := uuid.NewString()
	if b.volume, err = b.store.Create(ctx, backend.Spec{Dataset: cluster.DatasetID(id)}); err != nil {
		return err
	}
	device, err := b.store.Attach(ctx, b.volume)
	if err != nil {
		return err
	}
	if err := mount.Format(ctx, device, mount.Filesystem{Type: "ext4", UUID: id, Size: b.volume.Size}, true); err != nil {
		return err
	}
	if err := b.store.Detach(ctx, b.volume); err != nil {
		return err
	}
	_, err = fmt.Println(b.volume.ID)
	return err
}

// attach attaches and mounts, and then leaves something to be flushed.
func (b bareClient) attach(ctx context.Context) error {
	if err := os.MkdirAll(barePoint, 0o700); err != nil {
		return err
	}
	began := time.Now()
	device, err := b.store.Attach(ctx, b.volume)
	if err != nil {
		return err
	}
	if err := unix.Mount(device, barePoint, "ext4", unix.MS_NOATIME, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s: %w", device, err)
	}
	took := time.Since(began)
	if err := os.WriteFile(filepath.Join(barePoint, "records"), bytes.Repeat([]byte("record\n"), 10_000), 0o600); err != nil {
		return err
	}
	_, err = fmt.Println(took)
	return err
}

func (b bareClient) detach(ctx context.Context) error {
	began := time.Now()
	if err := unix.Unmount(barePoint, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", barePoint, err)
	}
	if err := b.store.Detach(ctx, b.volume); err != nil {
		return err
	}
	_, err := fmt.Println(time.Since(began))
	return err
}
