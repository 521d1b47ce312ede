// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// networkDriver is what backend/block makes of a store.
type networkDriver interface {
	backend.Driver
	backend.Mounter
	attacher
	backend.Resizer
	io.Closer
	asker
}

// attacher attaches volumes, and does ahead what it can of that.
type attacher interface {
	backend.Attacher
	backend.Preparer
}

// asker says how often it asked its store, and can be told to ask again.
type asker interface {
	Stats() []backend.OpStats
	Refresh()
	Reach(ctx context.Context) error
}

// volumeNode is a node that uses a store through backend/block.
type volumeNode struct {
	networkDriver
	store Store
	index int
	t     T
	root  string
}

// nodeOf opens a node's driver as a process that starts there does.
func nodeOf(t T, s Store, i int) *volumeNode {
	t.Helper()
	needsMachine(t, s, i)
	return nodeOver(t, s, i, s.Machine(t, i))
}

func nodeOver(t T, s Store, i int, store backend.Volumes) *volumeNode {
	t.Helper()
	n := &volumeNode{store: s, index: i, t: t, root: s.Mounts(t)}
	n.layer(store)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *volumeNode) layer(store backend.Volumes, around ...backend.Around) {
	n.t.Helper()
	d, ok := n.store.Layer(n.t, store, around...).(networkDriver)
	if !ok {
		n.t.Fatal("the driver of the layer lacks a part of the contract")
	}
	n.networkDriver = d
}

// restart lets the node's process die and come back.
func (n *volumeNode) restart() {
	n.t.Helper()
	n.must(n.Close()) // a dead process holds nothing
	n.layer(n.store.Machine(n.t, n.index))
}

func (n *volumeNode) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *volumeNode) refused(what string, err, want error) {
	n.t.Helper()
	if !errors.Is(err, want) {
		n.t.Errorf("%s = %v; want %v", what, err, want)
	}
}

// dataset is a fresh id that this node cleans up.
func (n *volumeNode) dataset() cluster.DatasetID {
	id := newDataset()
	n.clean(id)
	return id
}

func (n *volumeNode) clean(id cluster.DatasetID) {
	ctx := context.WithoutCancel(n.t.Context())
	n.t.Cleanup(func() {
		if err := errors.Join(n.Unmount(ctx, id), n.Destroy(ctx, id)); err != nil {
			n.t.Errorf("clean dataset %s: %v", id, err)
		}
	})
}

func (n *volumeNode) spec(id cluster.DatasetID) backend.Spec {
	return backend.Spec{Dataset: id, Size: n.store.Smallest(), Epoch: 1}
}

// created is a fresh dataset, attached and not mounted.
func (n *volumeNode) created() cluster.DatasetID {
	n.t.Helper()
	id := n.dataset()
	n.must(n.Create(n.t.Context(), n.spec(id)))
	return id
}

// mounted is a fresh dataset with one file.
func (n *volumeNode) mounted() cluster.DatasetID {
	n.t.Helper()
	id := n.created()
	n.mount(id)
	n.write(id, "first")
	return id
}

func (n *volumeNode) path(id cluster.DatasetID) string { return filepath.Join(n.root, string(id)) }

func (n *volumeNode) mount(id cluster.DatasetID) {
	n.t.Helper()
	n.must(n.Mount(n.t.Context(), id, n.path(id)))
}

func (n *volumeNode) write(id cluster.DatasetID, name string) {
	n.t.Helper()
	f, err := os.Create(filepath.Join(n.path(id), backend.DataDir, name))
	n.must(err)
	_, err = f.WriteString(name)
	n.must(errors.Join(err, f.Sync(), f.Close()))
}

// has wants a file that was written.
func (n *volumeNode) has(id cluster.DatasetID, name string) {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.path(id), backend.DataDir, name))
	if err != nil || string(data) != name {
		n.t.Errorf("file %s = %q, %v; want its name", name, data, err)
	}
}

// giveUp is what a node does before another gets the dataset.
func (n *volumeNode) giveUp(id cluster.DatasetID) {
	n.t.Helper()
	n.must(n.Unmount(n.t.Context(), id))
	n.must(n.Released(n.t.Context(), id, ""))
	n.must(n.Detach(n.t.Context(), id))
}

// takeUp is what a node does that became the owner.
func (n *volumeNode) takeUp(id cluster.DatasetID, epoch cluster.Epoch) {
	n.t.Helper()
	n.must(n.Attach(n.t.Context(), id))
	n.must(n.SetEpoch(n.t.Context(), id, epoch, ""))
	n.mount(id)
}

// copy is what List says of a dataset.
func (n *volumeNode) copy(id cluster.DatasetID) *cluster.Copy {
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

// calls are how often methods of the store were called, but for the machine's name.
func (n *volumeNode) calls() (all int, lists int) {
	for _, s := range n.Stats() {
		switch s.Op {
		case "store-machine":
		case "store-list":
			lists = s.Calls
			all += s.Calls
		default:
			all += s.Calls
		}
	}
	return all, lists
}

func testNodesFolder(t T, s Store) {
	t.Run("CreateGivesTheFolderAway", func(t T) {
		n := nodeOf(t, s, 0)
		spec := n.spec(n.dataset())
		spec.Root = cluster.Root{UID: 1234, GID: 5678, Mode: "2750"}
		n.must(n.Create(t.Context(), spec))
		n.mount(spec.Dataset)
		if got, err := RootAt(n.path(spec.Dataset)); err != nil || got != spec.Root {
			t.Errorf("the data folder is %+v, %v; want %+v", got, err, spec.Root)
		}
	})
}

func testNodes(t T, s Store) {
	t.Run("CreateMakesAnAttachedHead", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.created()
		n.must(n.Create(t.Context(), n.spec(id)))
		c := n.copy(id)
		if c == nil || !c.Head || c.Epoch != 1 || c.Volume == "" || c.Device == "" || c.Size != s.Smallest() || c.Mounted != "" {
			t.Fatalf("List = %+v; want a head of epoch 1 with its device", c)
		}
		n.mount(id)
		n.mount(id)
		if c := n.copy(id); c.Mounted != n.path(id) || !c.Head || c.Epoch != 1 || c.Used == 0 || c.Used > c.Size {
			t.Errorf("List = %+v; want it mounted on %s", c, n.path(id))
		}
		n.write(id, "first")
		n.must(n.Create(t.Context(), n.spec(id)))
		n.has(id, "first")
	})
	t.Run("ThereAndBackAgain", func(t T) {
		a, b := nodeOf(t, s, 0), nodeOf(t, s, 1)
		id := a.mounted()
		from, to := a, b
		for epoch := cluster.Epoch(2); epoch < 6; epoch++ {
			from.giveUp(id)
			if c := from.copy(id); c == nil || c.Head || c.Device != "" || c.Volume == "" {
				t.Errorf("List after Detach = %+v; want a volume that is not here", c)
			}
			to.takeUp(id, epoch)
			to.has(id, "first")
			to.restart()
			if c := to.copy(id); c.Epoch != epoch || c.Mounted != to.path(id) || !c.Head {
				t.Errorf("List = %+v; want it mounted at epoch %d", c, epoch)
			}
			from, to = to, from
		}
		from.giveUp(id)
	})
	t.Run("GivenUpTwiceAndTakenTwice", func(t T) {
		a, b := nodeOf(t, s, 0), nodeOf(t, s, 1)
		id := a.mounted()
		a.giveUp(id)
		a.giveUp(id)
		b.takeUp(id, 2)
		b.takeUp(id, 2)
		b.has(id, "first")
		b.giveUp(id)
	})
	t.Run("DestroyDetachesAndAgain", func(t T) {
		a, b := nodeOf(t, s, 0), nodeOf(t, s, 1)
		id := a.mounted()
		a.refused("Destroy while mounted", a.Destroy(t.Context(), id), backend.ErrBusy)
		a.has(id, "first")
		b.refused("Destroy from elsewhere", b.Destroy(t.Context(), id), backend.ErrBusy)
		a.must(a.Unmount(t.Context(), id))
		for _, n := range []*volumeNode{a, a, b} {
			n.must(n.Destroy(t.Context(), id))
			if c := n.copy(id); c != nil {
				t.Errorf("List = %+v; want nothing", c)
			}
		}
	})
	t.Run("ItSaysWhatTheStoreCanDo", func(t T) {
		n := nodeOf(t, s, 0)
		evicter, fences := backend.VolumesAs[backend.Evicter](s.Machine(t, 0))
		fences = fences && evicter.Fences()
		_, grows := backend.VolumesAs[backend.Grower](s.Machine(t, 0))
		snapshotter, snapshots := backend.VolumesAs[backend.VolumeSnapshotter](s.Machine(t, 0))
		snapshots = snapshots && snapshotter.CanSnapshot() == nil
		_, reverts := backend.VolumesAs[backend.VolumeReverter](s.Machine(t, 0))
		can := n.Abilities()
		if can.Fences != fences || can.Resizes != grows || can.Snapshots != snapshots || can.Reverts != (snapshots && reverts) || !can.Attaches || can.Replicates {
			t.Errorf("Abilities = %+v; want those of the store: fences %v, grows %v, snapshots %v", can, fences, grows, snapshots)
		}
		if name, err := s.Machine(t, 0).Machine(t.Context()); err != nil || n.Machine() != name {
			t.Errorf("Machine = %q; want %q, %v", n.Machine(), name, err)
		}
	})
}

// testNodesReady is about what is done ahead on a node while another has the volume.
func testNodesReady(t T, s Store) {
	a, b := nodeOf(t, s, 0), nodeOf(t, s, 1)
	id := a.mounted()
	for range 2 {
		b.must(b.Ready(t.Context(), id))
		b.must(b.Unready(t.Context(), id))
	}
	b.must(b.Ready(t.Context(), id))
	if c := b.copy(id); c == nil || c.Device != "" || c.Head {
		t.Errorf("List = %+v; want no device of what is only ready", c)
	}
	b.refused("Attach of what another has", b.Attach(t.Context(), id), backend.ErrBusy)
	b.must(b.Ready(t.Context(), id))
	a.write(id, "later")
	a.must(a.Flush(t.Context(), id))
	a.giveUp(id)
	a.must(a.Flush(t.Context(), id))
	b.takeUp(id, 2)
	b.must(b.Ready(t.Context(), id))
	b.must(b.Unready(t.Context(), id))
	b.has(id, "first")
	b.has(id, "later")
	b.giveUp(id)
}

func testNodesEpochs(t T, s Store) {
	t.Run("EpochsGoUpOnly", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.created()
		n.must(n.SetEpoch(t.Context(), id, 5, ""))
		n.refused("SetEpoch of a smaller one", n.SetEpoch(t.Context(), id, 4, ""), backend.ErrChanged)
		n.refused("SetEpoch of a scratch head", n.SetEpoch(t.Context(), id, 6, "a move"), backend.ErrUnsupported)
		n.mount(id)
		n.must(n.SetEpoch(t.Context(), id, 6, ""))
		n.refused("SetEpoch of a smaller one", n.SetEpoch(t.Context(), id, 5, ""), backend.ErrChanged)
		n.restart()
		if c := n.copy(id); c.Epoch != 6 {
			t.Errorf("epoch = %d; want 6", c.Epoch)
		}
	})
	t.Run("AnEpochIsOnTheDeviceAndHoldsNothing", func(t T) {
		a, b := nodeOf(t, s, 0), nodeOf(t, s, 1)
		id := a.created()
		a.must(a.SetEpoch(t.Context(), id, 7, ""))
		if c := a.copy(id); c.Epoch != 7 || c.Mounted != "" {
			t.Errorf("List = %+v; want epoch 7, mounted nowhere", c)
		}
		a.must(a.Released(t.Context(), id, ""))
		a.must(a.SetEpoch(t.Context(), id, 8, ""))
		a.must(a.Detach(t.Context(), id))
		b.must(b.Attach(t.Context(), id))
		b.refused("SetEpoch of a smaller one", b.SetEpoch(t.Context(), id, 7, ""), backend.ErrChanged)
		b.must(b.Detach(t.Context(), id))
	})
}

func testNodesRefuse(t T, s Store) {
	t.Run("WhatIsNotThere", func(t T) {
		n := nodeOf(t, s, 0)
		id := newDataset()
		n.refused("Attach", n.Attach(t.Context(), id), backend.ErrNotFound)
		n.refused("SetEpoch", n.SetEpoch(t.Context(), id, 1, ""), backend.ErrNotFound)
		n.refused("Mount", n.Mount(t.Context(), id, n.path(id)), backend.ErrNotFound)
		n.refused("Detach", n.Detach(t.Context(), id), backend.ErrNotFound)
		n.must(errors.Join(n.Unmount(t.Context(), id), n.Released(t.Context(), id, ""), n.Destroy(t.Context(), id)))
	})
	t.Run("WhatIsNotAttached", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.created()
		n.must(n.Detach(t.Context(), id))
		n.refused("SetEpoch", n.SetEpoch(t.Context(), id, 1, ""), backend.ErrNotAttached)
		n.refused("Mount", n.Mount(t.Context(), id, n.path(id)), backend.ErrNotAttached)
		n.must(errors.Join(n.Unmount(t.Context(), id), n.Released(t.Context(), id, ""), n.Detach(t.Context(), id)))
	})
	t.Run("WhatAnotherHas", func(t T) {
		a, b := nodeOf(t, s, 0), nodeOf(t, s, 1)
		id := a.mounted()
		b.refused("Attach", b.Attach(t.Context(), id), backend.ErrBusy)
		b.refused("Create", b.Create(t.Context(), b.spec(id)), backend.ErrBusy)
		b.refused("Mount", b.Mount(t.Context(), id, b.path(id)), backend.ErrNotAttached)
		b.must(errors.Join(b.Unmount(t.Context(), id), b.Detach(t.Context(), id)))
		a.has(id, "first")
		a.write(id, "second")
	})
	t.Run("WhatIsInUse", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.mounted()
		n.refused("Released", n.Released(t.Context(), id, ""), backend.ErrBusy)
		n.refused("Released since a snapshot", n.Released(t.Context(), id, backend.Lineage{Epoch: 1}.Name()), backend.ErrBusy)
		n.refused("Detach", n.Detach(t.Context(), id), backend.ErrBusy)
		f, err := os.Open(filepath.Join(n.path(id), backend.DataDir, "first"))
		n.must(err)
		n.refused("Unmount", n.Unmount(t.Context(), id), backend.ErrBusy)
		n.must(f.Close())
		n.must(n.Unmount(t.Context(), id))
		device := n.copy(id).Device
		n.must(n.Released(t.Context(), id, "")) // who starts a container has it for a moment
		claim, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
		n.must(err)
		n.refused("Released of a claimed device", n.Released(t.Context(), id, ""), backend.ErrBusy)
		n.refused("Detach of a claimed device", n.Detach(t.Context(), id), backend.ErrBusy)
		n.refused("Destroy of a claimed device", n.Destroy(t.Context(), id), backend.ErrBusy)
		n.must(claim.Close())
		n.must(n.Released(t.Context(), id, ""))
	})
	t.Run("AnothersPath", func(t T) {
		n := nodeOf(t, s, 0)
		one, two := n.mounted(), n.created()
		n.refused("Mount", n.Mount(t.Context(), two, n.path(one)), backend.ErrBusy)
		n.refused("Mount in a second place", n.Mount(t.Context(), one, n.path(two)), backend.ErrBusy)
		n.has(one, "first")
	})
}

func testNodesTampered(t T, s Store) {
	t.Run("AVolumeThatVanished", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.created()
		n.must(n.Detach(t.Context(), id))
		n.Refresh()
		c := n.copy(id)
		s.Vanish(t, backend.Volume{ID: c.Volume, Dataset: id, Size: c.Size})
		n.refused("Create", n.Create(t.Context(), n.spec(id)), backend.ErrNotFound)
		n.refused("Attach", n.Attach(t.Context(), id), backend.ErrNotFound)
		n.refused("Create after that", n.Create(t.Context(), n.spec(id)), backend.ErrNotFound)
		if c := n.copy(id); c != nil {
			t.Errorf("List = %+v; want nothing", c)
		}
	})
	t.Run("TwoVolumesOfOneDataset", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.mounted()
		v := backend.Volume{ID: n.copy(id).Volume, Dataset: id, Size: s.Smallest()}
		if !s.Twin(t, v) {
			t.Skip("this store cannot have two volumes of one dataset")
		}
		n.Refresh()
		c := n.copy(id)
		if c.Volume == v.ID || c.Mounted != n.path(id) {
			t.Errorf("List = %+v; want both volumes, and the mount of the one that is here", c)
		}
		n.refused("Destroy", n.Destroy(t.Context(), id), backend.ErrExists)
		n.refused("Create", n.Create(t.Context(), n.spec(id)), backend.ErrExists)
		n.must(n.Unmount(t.Context(), id))
		n.refused("Mount", n.Mount(t.Context(), id, n.path(id)), backend.ErrExists)
		n.refused("SetEpoch", n.SetEpoch(t.Context(), id, 2, ""), backend.ErrExists)
		n.must(n.Detach(t.Context(), id))
		n.refused("Attach", n.Attach(t.Context(), id), backend.ErrExists)
		all, err := second(t, s).List(t.Context())
		n.must(err)
		if len(all) != 2 {
			t.Errorf("List = %+v; want both volumes", all)
		}
		for _, other := range all {
			if other.ID != v.ID {
				n.must(s.Machine(t, 0).Destroy(t.Context(), other))
			}
		}
		n.Refresh()
		n.copy(id)
		n.takeUp(id, 2)
		n.has(id, "first")
	})
}
