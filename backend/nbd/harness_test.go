// SPDX-License-Identifier: Apache-2.0

package nbd_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/nbd"
	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/blockstore"
	"github.com/flocker-project/flocker/blockstore/client"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/pki"
)

// world is a storage host with a real service and real exports.
type world struct {
	t         *testing.T
	dir       string
	authority *pki.Authority
	address   string
	host      *pki.Credentials
	hostID    cluster.NodeID
	store     *blockstore.Store
	stop      func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, "")
}

// newWorldOn has its volumes on a filesystem of their own, if one is named.
func newWorldOn(t *testing.T, filesystem string) *world {
	t.Helper()
	runtest.Need(t, "nbdkit", "qemu-storage-daemon")
	w := &world{t: t, dir: short(t), address: "127.0.0.1:0", hostID: cluster.NodeID(uuid.NewString())}
	var err error
	if w.authority, err = pki.CreateAuthority("test"); err != nil {
		t.Fatal(err)
	}
	w.host = w.credentials(w.hostID)
	if filesystem != "" {
		store := filepath.Join(w.dir, "store")
		if err := os.Mkdir(store, 0o700); err != nil {
			t.Fatal(err)
		}
		backendtest.OnFilesystem(t, store, filesystem)
	}
	w.serve("this boot")
	t.Cleanup(func() { w.end() })
	return w
}

// short is a folder with a path that leaves room for a socket's name.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd") //nolint:usetesting // the test's name would be in the path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (w *world) credentials(id cluster.NodeID) *pki.Credentials {
	w.t.Helper()
	issued, err := w.authority.IssueNode(id)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := pki.NewCredentials(w.authority.CertificatePEM(), issued)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// serve starts the service; the address stays the same when it starts again.
func (w *world) serve(boot string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	log := slog.New(slog.DiscardHandler)
	store, err := blockstore.Open(ctx, blockstore.Config{
		Dir: filepath.Join(w.dir, "store"), Cluster: w.host.Identity().Cluster, Host: "127.0.0.1",
		FirstPort: 20810, LastPort: 20899, BootID: boot, Log: log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.address, w.store = l.Addr().String(), store
	done := make(chan error, 1)
	go func() { done <- blockstore.Serve(ctx, store, w.host, l, log) }()
	w.stop = func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			w.t.Error(err)
		}
	}
}

// end ends the service and every export, as a machine that goes away does.
func (w *world) end() {
	w.stop()
	w.killExports()
}

// exports are the processes that serve volumes of this world.
func (w *world) exports() []run.Process {
	w.t.Helper()
	found, err := run.Processes(func(args []string) bool {
		return filepath.Base(args[0]) == "nbdkit" &&
			slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, w.dir+"/") })
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func (w *world) killExports() {
	w.t.Helper()
	for _, p := range w.exports() {
		if err := p.End(context.WithoutCancel(w.t.Context()), 0); err != nil {
			w.t.Error(err)
		}
	}
}

// machine is a node with devices of its own.
func (w *world) machine() *nbd.Store {
	w.t.Helper()
	return w.machineOf(cluster.NodeID(uuid.NewString()), w.devices())
}

// devices is a folder of devices, which end with the test.
func (w *world) devices() string {
	w.t.Helper()
	dir := short(w.t)
	w.t.Cleanup(func() { w.clean(dir) })
	return dir
}

func (w *world) machineOf(id cluster.NodeID, dir string) *nbd.Store {
	w.t.Helper()
	c, err := client.New(w.address, pki.ClientTLS(w.credentials(id), pki.ExpectNode(w.hostID)))
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := nbd.Open(nbd.Config{Client: c, Machine: string(id), Dir: dir, Reconnect: 3 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

func (w *world) clean(dir string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), time.Minute)
	defer cancel()
	devices, err := userdev.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	running, err := devices.Running()
	for id := range running {
		if stop := devices.Stop(ctx, id); !errors.Is(stop, userdev.ErrUnflushed) {
			err = errors.Join(err, stop)
		}
	}
	if err != nil {
		w.t.Error(err)
	}
}

const size = 64 << 20

func (w *world) volume(by *nbd.Store) backend.Volume {
	w.t.Helper()
	v, err := by.Create(w.t.Context(), backend.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: size})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) attach(m *nbd.Store, v backend.Volume) (device string) {
	w.t.Helper()
	began := time.Now()
	device, err := m.Attach(w.t.Context(), v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("attached in %v", time.Since(began).Round(time.Millisecond))
	return device
}

func (w *world) detach(m *nbd.Store, v backend.Volume) {
	w.t.Helper()
	began := time.Now()
	if err := m.Detach(w.t.Context(), v); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("detached in %v", time.Since(began).Round(time.Millisecond))
}

// holder is which machine the store says has the volume.
func (w *world) holder(m *nbd.Store, v backend.Volume) string {
	w.t.Helper()
	list, err := m.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, other := range list {
		if other.ID == v.ID {
			return other.Machine
		}
	}
	w.t.Fatalf("volume %s is not listed", v.ID)
	return ""
}

func nameOf(m *nbd.Store) string {
	name, _ := m.Machine(context.Background()) // it asks nobody and cannot fail
	return name
}

// content is what the store has of the volume.
func (w *world) content(v backend.Volume) []byte {
	w.t.Helper()
	content, err := os.ReadFile(filepath.Join(w.dir, "store", v.ID, "data"))
	if err != nil {
		w.t.Fatal(err)
	}
	return content
}

// restart ends the service and starts it again; exports go on meanwhile.
func (w *world) restart(boot string) {
	w.t.Helper()
	w.stop()
	w.serve(boot)
}
