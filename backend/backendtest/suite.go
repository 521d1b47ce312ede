// SPDX-License-Identifier: Apache-2.0

// Package backendtest is the storage contract as tests. Every driver runs all of it, against the real thing.
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// Held is a way in which a head can be in use.
type Held string

// Ways of holding a head. Only the first keeps it from being unmounted; the others need a look at every process.
const (
	HeldThroughMount Held = "a file open through the mount"
	HeldByDescriptor Held = "a descriptor from elsewhere"
	HeldByMapping    Held = "a shared mapping whose descriptor is closed"
	HeldByNamespace  Held = "a mount in another mount namespace"
)

// Harness is one pool under test.
type Harness interface {
	Container
	// Driver is the open driver.
	Driver() backend.Driver
	// Reopen ends the driver as if its process had died, and opens another on the same pool.
	Reopen(t *testing.T) backend.Driver
	// Interrupt leaves behind what a process that died while it created and received a dataset would leave.
	Interrupt(t *testing.T, id cluster.DatasetID)
	// Foreign puts things that are not Flocker's into the pool; intact says whether all are still there.
	Foreign(t *testing.T) (intact func() error)
}

// Container is what containers do with the data of mounted heads.
type Container interface {
	// Path is where the suite mounts a dataset.
	Path(id cluster.DatasetID) string
	// Write writes a file of a mounted head, in DataDir, and flushes it.
	Write(id cluster.DatasetID, name string, data []byte) error
	// Files reads all files of a mounted head, in DataDir.
	Files(id cluster.DatasetID) (map[string][]byte, error)
	// Root is whose DataDir of a mounted head is, and its mode.
	Root(id cluster.DatasetID) (cluster.Root, error)
	// Hold keeps a mounted head in use until release.
	Hold(t *testing.T, id cluster.DatasetID, how Held) (release func())
}

// Run runs the whole contract. open makes an empty pool of at least 200 MiB that goes away with the test.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	a, b := open(t), open(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"Lifecycle", testLifecycle},
		{"Destroy", testDestroy},
		{"Epochs", testEpochs},
		{"Mounts", testMounts},
		{"Released", testReleased},
		{"Snapshots", testSnapshots},
		{"Clones", testClones},
		{"Reverts", testReverts},
		{"Sizes", testSizes},
		{"Space", testSpace},
		{"Crashes", testCrashes},
		{"Concurrency", testConcurrency},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, a) })
	}
	t.Run("Replication", func(t *testing.T) { testReplication(t, a, b) })
	t.Run("ReplicationRefused", func(t *testing.T) { testReplicationRefused(t, a, b) })
	t.Run("Partials", func(t *testing.T) { testPartials(t, a, b) })
	t.Run("BadStreams", func(t *testing.T) { testBadStreams(t, a, b) })
	t.Run("LeavesNothing", func(t *testing.T) { testLeavesNothing(t, a, b) })
}

// driver is what the suite needs of a peer-to-peer driver.
type driver interface {
	backend.Driver
	backend.Mounter
	backend.Snapshotter
	backend.Replicator
	backend.Resizer
	backend.Space
}

// node is a pool with the driver's whole contract, and short words for what tests do with it.
type node struct {
	Harness
	driver
	t *testing.T
}

func at(t *testing.T, h Harness) *node {
	t.Helper()
	return &node{Harness: h, driver: whole(t, h.Driver()), t: t}
}

func whole(t *testing.T, d backend.Driver) driver {
	t.Helper()
	all, ok := d.(driver)
	if !ok {
		t.Fatalf("%T lacks a part of the contract", d)
	}
	return all
}

// restart lets the driver's process die and come back.
func (n *node) restart() {
	n.t.Helper()
	n.driver = whole(n.t, n.Reopen(n.t))
}

// dataset is a fresh id that is destroyed after the test.
func (n *node) dataset() cluster.DatasetID {
	id := cluster.DatasetID(uuid.NewString())
	ctx := context.WithoutCancel(n.t.Context())
	n.t.Cleanup(func() {
		if err := errors.Join(n.Unmount(ctx, id), n.Destroy(ctx, id)); err != nil {
			n.t.Errorf("clean dataset %s: %v", id, err)
		}
	})
	return id
}

// mounted is a fresh dataset at epoch 1 that is mounted and has one file.
func (n *node) mounted() cluster.DatasetID {
	n.t.Helper()
	id := n.dataset()
	n.must(n.Create(n.t.Context(), backend.Spec{Dataset: id, Epoch: 1}))
	n.mount(id)
	n.write(id, "first", "1")
	return id
}

func (n *node) mount(id cluster.DatasetID) {
	n.t.Helper()
	n.must(n.Mount(n.t.Context(), id, n.Path(id)))
}

func (n *node) write(id cluster.DatasetID, name, data string) {
	n.t.Helper()
	n.must(n.Write(id, name, []byte(data)))
}

func (n *node) snapshot(id cluster.DatasetID, epoch cluster.Epoch, serial uint64) cluster.Snapshot {
	n.t.Helper()
	s, err := n.Snapshot(n.t.Context(), id, backend.Lineage{Epoch: epoch, Serial: serial})
	n.must(err)
	return s
}

// copy is what List says of a dataset, nil if nothing.
func (n *node) copy(id cluster.DatasetID) *cluster.Copy {
	n.t.Helper()
	copies, err := n.List(n.t.Context())
	n.must(err)
	var found *cluster.Copy
	for _, c := range copies {
		if c.Dataset != id {
			continue
		}
		if found != nil {
			n.t.Fatalf("List has dataset %s twice", id)
		}
		found = &c
	}
	return found
}

func (n *node) names(id cluster.DatasetID) (names []string) {
	n.t.Helper()
	if c := n.copy(id); c != nil {
		for _, s := range c.Snapshots {
			names = append(names, s.Name)
		}
	}
	return names
}

// content is the files of a head as one text, mounted for the look if it is not.
func (n *node) content(id cluster.DatasetID) string {
	n.t.Helper()
	if c := n.copy(id); c != nil && c.Mounted == "" {
		n.mount(id)
		defer func() { n.must(n.Unmount(n.t.Context(), id)) }()
	}
	files, err := n.Files(id)
	n.must(err)
	return text(files)
}

func text(files map[string][]byte) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%q", files) // fmt sorts maps
	return b.String()
}

// stream is what Send writes.
func (n *node) stream(id cluster.DatasetID, snapshot, base string) []byte {
	n.t.Helper()
	var b bytes.Buffer
	n.must(n.Send(n.t.Context(), id, snapshot, base, &b))
	return b.Bytes()
}

func (n *node) receive(id cluster.DatasetID, want cluster.Snapshot, base string, r io.Reader) error {
	n.t.Helper()
	got, err := n.Receive(n.t.Context(), backend.Arrival{Dataset: id, Base: base}, Saying(want), r)
	if err == nil && (got.Name != want.Name || got.ID != want.ID || got.Epoch != want.Epoch || got.Serial != want.Serial) {
		n.t.Errorf("Receive = %+v; want %+v", got, want)
	}
	return err
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// refused wants an error that is one of the contract's.
func (n *node) refused(what string, err, want error) {
	n.t.Helper()
	if !errors.Is(err, want) {
		n.t.Errorf("%s = %v; want %v", what, err, want)
	}
}

// Saying announces a snapshot that is known already.
func Saying(s cluster.Snapshot) backend.Announced {
	return func() (cluster.Snapshot, error) { return s, nil }
}
