// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

func epochOf(n uint64) cluster.Epoch { return cluster.Epoch(n) }

// keepingNode is a node whose store has snapshots.
type keepingNode struct {
	*volumeNode
	nodeSnapshots
}

type nodeSnapshots interface {
	backend.Snapshotter
	backend.Reverter
}

func keepingAt(t T, s Store, i int) *keepingNode {
	t.Helper()
	needsMachine(t, s, i)
	snapshotting(t, s.Machine(t, i))
	n := nodeOf(t, s, i)
	k, ok := n.networkDriver.(nodeSnapshots)
	if !ok {
		t.Fatal("the driver of the layer lacks snapshots")
	}
	return &keepingNode{n, k}
}

// again lets the node's process die and come back.
func (n *keepingNode) again() {
	n.t.Helper()
	n.restart()
	n.nodeSnapshots = n.networkDriver.(nodeSnapshots) //nolint:forcetypeassert // it was one before
}

func (n *keepingNode) take(id cluster.DatasetID, epoch cluster.Epoch, serial uint64) cluster.Snapshot {
	n.t.Helper()
	s, err := n.Snapshot(n.t.Context(), id, backend.Lineage{Epoch: epoch, Serial: serial})
	n.must(err)
	return s
}

func (n *keepingNode) names(id cluster.DatasetID) (names []string) {
	n.t.Helper()
	if c := n.copy(id); c != nil {
		for _, s := range c.Snapshots {
			names = append(names, s.Name)
		}
	}
	return names
}

// files are the names of what is in a mounted dataset.
func (n *keepingNode) files(id cluster.DatasetID) (names []string) {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.path(id), backend.DataDir))
	n.must(err)
	for _, e := range entries {
		names = append(names, e.Name())
		n.has(id, e.Name())
	}
	return names
}

func (n *keepingNode) wants(id cluster.DatasetID, want ...string) {
	n.t.Helper()
	if got := n.files(id); !slices.Equal(got, want) {
		n.t.Errorf("dataset %s has the files %v; want %v", id, got, want)
	}
}

// unflushed writes a file without flushing it.
func (n *keepingNode) unflushed(id cluster.DatasetID, name string) {
	n.t.Helper()
	n.must(os.WriteFile(filepath.Join(n.path(id), backend.DataDir, name), []byte(name), 0o600))
}

func (n *keepingNode) clone(from cluster.DatasetID, snapshot string) cluster.DatasetID {
	n.t.Helper()
	id := n.dataset()
	n.must(n.Clone(n.t.Context(), from, snapshot, n.spec(id), ""))
	return id
}

func testNodesSnapshots(t T, s Store) {
	t.Run("OfAMountedHead", func(t T) {
		n := keepingAt(t, s, 0)
		id := n.mounted()
		n.unflushed(id, "second")
		one := n.take(id, 1, 7)
		if one.Epoch != 1 || one.Serial != 7 || one.ID == "" || one.Name != (backend.Lineage{Epoch: 1, Serial: 7}).Name() {
			t.Errorf("Snapshot = %+v; want that of lineage 1, 7", one)
		}
		n.write(id, "third")
		if again := n.take(id, 1, 7); again.ID != one.ID {
			t.Errorf("Snapshot again = %+v; want %+v", again, one)
		}
		two := n.take(id, 1, 3)
		for range 2 {
			c := n.copy(id)
			if !slices.Equal(n.names(id), []string{two.Name, one.Name}) || c.Snapshots[1].ID != one.ID {
				t.Errorf("List = %+v; want snapshots %s, %s", c, two.Name, one.Name)
			}
			n.again()
		}
		clone := n.clone(id, one.Name)
		if c := n.copy(clone); !c.Head || c.Epoch != 1 || c.Mounted != "" || c.Device == "" || len(c.Snapshots) != 0 {
			t.Errorf("List = %+v; want a head of epoch 1 that is mounted nowhere", c)
		}
		n.mount(clone)
		n.wants(clone, "first", "second")
		n.write(clone, "own")
		n.wants(id, "first", "second", "third")
		n.refused("Clone again", n.Clone(t.Context(), id, one.Name, n.spec(clone), ""), backend.ErrExists)
		n.must(errors.Join(n.DeleteSnapshot(t.Context(), id, one.Name), n.DeleteSnapshot(t.Context(), id, one.Name)))
		n.must(errors.Join(n.Unmount(t.Context(), id), n.Destroy(t.Context(), id)))
		n.wants(clone, "first", "own", "second")
		n.must(errors.Join(n.Unmount(t.Context(), clone), n.Detach(t.Context(), clone)))
		n.takeUp(clone, 4)
		n.wants(clone, "first", "own", "second")
	})
	t.Run("WhatCannotBe", func(t T) {
		n := keepingAt(t, s, 0)
		id, name := n.mounted(), backend.Lineage{Epoch: 1, Serial: 9}.Name()
		n.refused("Clone", n.Clone(t.Context(), id, name, n.spec(newDataset()), ""), backend.ErrNotFound)
		n.refused("Clone of itself", n.Clone(t.Context(), id, name, n.spec(id), ""), backend.ErrUnsupported)
		n.refused("Revert of a mounted one", n.Revert(t.Context(), id, n.take(id, 1, 1).Name), backend.ErrBusy)
		n.must(n.Unmount(t.Context(), id))
		n.refused("Revert", n.Revert(t.Context(), id, name), backend.ErrNotFound)
		n.refused("Released", n.Released(t.Context(), id, name), backend.ErrNotFound)
		n.mount(id)
		n.has(id, "first")
		_, err := n.Snapshot(t.Context(), newDataset(), backend.Lineage{Epoch: 1, Serial: 1})
		n.refused("Snapshot", err, backend.ErrNotFound)
	})
}

func testNodesReverts(t T, s Store) {
	t.Run("BackAndForth", func(t T) {
		n := keepingAt(t, s, 0)
		id := n.mounted()
		old := n.take(id, 1, 1)
		n.must(n.SetEpoch(t.Context(), id, 3, ""))
		n.write(id, "second")
		n.must(n.Unmount(t.Context(), id))
		kept := n.take(id, 3, 1)
		n.must(n.Released(t.Context(), id, kept.Name))
		for range 2 { // the second does what the first did
			n.must(n.Revert(t.Context(), id, old.Name))
			n.must(n.Released(t.Context(), id, old.Name))
			n.refused("Released", n.Released(t.Context(), id, kept.Name), backend.ErrChanged)
			if c := n.copy(id); !c.Head || c.Epoch != 3 || len(c.Snapshots) != 2 {
				t.Errorf("List = %+v; want a head of epoch 3, and both snapshots", c)
			}
		}
		n.takeUp(id, 3)
		n.wants(id, "first")
		n.again()
		n.must(n.Unmount(t.Context(), id))
		n.must(n.Revert(t.Context(), id, kept.Name))
		n.takeUp(id, 3)
		n.wants(id, "first", "second")
		n.write(id, "third")
		n.take(id, 3, 2)
	})
	t.Run("ARollbackThatWasCutOff", func(t T) {
		n := keepingAt(t, s, 0)
		id := n.mounted()
		old := n.take(id, 1, 1)
		n.write(id, "second")
		n.must(n.Unmount(t.Context(), id))
		kept := n.take(id, 1, 2)
		n.must(n.Close())
		n.layer(s.Machine(t, 0), losing("rollback"))
		n.nodeSnapshots = n.networkDriver.(nodeSnapshots) //nolint:forcetypeassert // it was one before
		n.refused("Revert", n.Revert(t.Context(), id, old.Name), errLost)
		n.must(n.Attach(t.Context(), id))
		n.must(n.Released(t.Context(), id, old.Name))
		n.refused("Released", n.Released(t.Context(), id, kept.Name), backend.ErrChanged)
		n.takeUp(id, 1)
		n.wants(id, "first")
	})
}

func testNodesSnapshotsMove(t T, s Store) {
	t.Run("TheyStayWithTheVolume", func(t T) {
		a, b := keepingAt(t, s, 0), keepingAt(t, s, 1)
		id := a.mounted()
		b.copy(id) // its listing is older than the snapshots
		one := a.take(id, 1, 1)
		a.write(id, "second")
		two := a.take(id, 1, 2)
		a.giveUp(id)
		b.takeUp(id, 2)
		if got := b.names(id); !slices.Equal(got, []string{one.Name, two.Name}) {
			t.Errorf("snapshots on the other node = %v; want %s, %s", got, one.Name, two.Name)
		}
		lists := b.asks()["list"]
		b.copy(id)
		if now := b.asks(); now["list"] != lists || now["snapshots"] != 1 {
			t.Errorf("calls of the store = %v; want no other listing, and one for the snapshots", now)
		}
		b.must(b.DeleteSnapshot(t.Context(), id, two.Name))
		b.must(b.Unmount(t.Context(), id))
		b.must(b.Revert(t.Context(), id, one.Name))
		b.takeUp(id, 2)
		b.wants(id, "first")
		b.giveUp(id)
		a.takeUp(id, 3)
		if got := a.names(id); !slices.Equal(got, []string{one.Name}) {
			t.Errorf("snapshots after the way back = %v; want %s", got, one.Name)
		}
	})
	t.Run("AnyNodeClones", func(t T) {
		a, b := keepingAt(t, s, 0), keepingAt(t, s, 1)
		id := a.mounted()
		one := a.take(id, 1, 1)
		a.write(id, "second")
		clone := b.clone(id, one.Name)
		b.takeUp(clone, 1)
		b.wants(clone, "first")
		a.wants(id, "first", "second")
	})
	t.Run("OneListingHoweverMany", func(t T) {
		n := keepingAt(t, s, 0)
		var ids []cluster.DatasetID
		for range 3 {
			id := n.created()
			n.take(id, 1, 1)
			ids = append(ids, id)
		}
		n.again()
		for _, id := range ids {
			if got := n.names(id); len(got) != 1 {
				t.Errorf("snapshots = %v; want one", got)
			}
		}
		if asked := n.asks(); asked["list"] != 1 || asked["snapshots"] != 0 {
			t.Errorf("calls of the store = %v; want one listing and nothing else", asked)
		}
	})
}
