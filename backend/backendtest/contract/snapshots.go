// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
)

// keepers are both machines of a store that has snapshots.
type keepers struct {
	*machines
	a, b backend.VolumeSnapshotter
}

// snapshotting skips a store without snapshots, which has to say why.
func snapshotting(t T, store backend.Volumes) backend.VolumeSnapshotter {
	t.Helper()
	s, ok := backend.VolumesAs[backend.VolumeSnapshotter](store)
	if !ok {
		t.Skip("this store has no snapshots")
	}
	if _, err := store.List(t.Context()); err != nil { // by which a client learns what its store can do
		t.Fatal(err)
	}
	if err := s.CanSnapshot(); err != nil {
		if !errors.Is(err, backend.ErrUnsupported) {
			t.Errorf("CanSnapshot = %v; want %v with the reason", err, backend.ErrUnsupported)
		}
		t.Skip(err)
	}
	return s
}

func keeping(t T, s Store) *keepers {
	t.Helper()
	m := both(t, s)
	return &keepers{m, snapshotting(t, m.a), snapshotting(t, m.b)}
}

// back is the first machine's, where the store can go back.
func (k *keepers) back() backend.VolumeReverter {
	k.t.Helper()
	r, ok := backend.VolumesAs[backend.VolumeReverter](k.machines.a)
	if !ok {
		k.t.Skip("this store cannot make a volume what it was")
	}
	return r
}

func point(epoch, serial uint64) string {
	return backend.Lineage{Epoch: epochOf(epoch), Serial: serial}.Name()
}

func (k *keepers) take(v backend.Volume, name string) backend.VolumeSnapshot {
	k.t.Helper()
	s, err := k.a.TakeSnapshot(k.t.Context(), v, name)
	k.must(err)
	return s
}

// names are the snapshots of a volume, as another machine's listing and the volume's own have them.
func (k *keepers) names(v backend.Volume) []string {
	k.t.Helper()
	listed := k.listed(k.machines.b, v.Dataset)
	if len(listed) != 1 {
		k.t.Fatalf("List has volume %s %d times", v.ID, len(listed))
	}
	now, err := k.a.Snapshots(k.t.Context(), v)
	k.must(err)
	var names, ids []string
	for _, s := range listed[0].Snapshots {
		names, ids = append(names, s.Name), append(ids, s.ID)
	}
	for i, s := range now {
		if len(now) != len(names) || s.Name != names[i] || s.ID != ids[i] {
			k.t.Fatalf("Snapshots = %+v; want what List says, %v with ids %v", now, names, ids)
		}
	}
	return names
}

// cloned is a clone that goes away after the test.
func (k *keepers) cloned(v backend.Volume, name string) backend.Volume {
	k.t.Helper()
	c, err := k.b.CloneVolume(k.t.Context(), v, name, backend.Spec{Dataset: newDataset(), Size: v.Size, Epoch: 1})
	k.must(err)
	k.clean(c)
	return c
}

func testVolumeSnapshots(t T, s Store) {
	t.Run("TakenTwiceIsOne", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		if got := k.names(v); len(got) != 0 {
			t.Errorf("a new volume has snapshots %v", got)
		}
		second, first := k.take(v, point(2, 1)), k.take(v, point(1, 12))
		if again := k.take(v, first.Name); again.ID != first.ID || first.ID == second.ID || first.ID == "" || first.Created.IsZero() {
			t.Errorf("TakeSnapshot = %+v, again %+v, another %+v; want the same, and not the other", first, again, second)
		}
		if got := k.names(v); !slices.Equal(got, []string{first.Name, second.Name}) {
			t.Errorf("snapshots = %v; want %s, %s", got, first.Name, second.Name)
		}
		other := k.volume()
		if got := k.names(other); len(got) != 0 {
			t.Errorf("another volume has snapshots %v", got)
		}
	})
	t.Run("RemovedTwice", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		gone, kept := k.take(v, point(1, 1)), k.take(v, point(1, 2))
		for range 2 {
			k.must(k.a.DeleteSnapshot(t.Context(), v, gone.Name))
			if got := k.names(v); !slices.Equal(got, []string{kept.Name}) {
				t.Errorf("snapshots = %v; want %s", got, kept.Name)
			}
		}
		if again := k.take(v, gone.Name); again.ID == gone.ID {
			t.Errorf("another snapshot has the id %s of one that is gone", again.ID)
		}
	})
	t.Run("TheyGoWithTheirVolume", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		one := k.take(v, point(1, 1))
		k.must(k.machines.a.Destroy(t.Context(), v))
		k.must(k.a.DeleteSnapshot(t.Context(), v, one.Name))
		_, err := k.a.TakeSnapshot(t.Context(), v, one.Name)
		k.refused("TakeSnapshot", err, backend.ErrNotFound)
		_, err = k.a.Snapshots(t.Context(), v)
		k.refused("Snapshots", err, backend.ErrNotFound)
	})
	t.Run("OfNothing", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		_, err := k.a.CloneVolume(t.Context(), v, point(1, 1), backend.Spec{Dataset: newDataset(), Size: v.Size})
		k.refused("CloneVolume", err, backend.ErrNotFound)
		k.attach(k.machines.a, v)
		k.refused("Rollback", k.back().Rollback(t.Context(), v, point(1, 1)), backend.ErrNotFound)
		_, err = k.back().Differs(t.Context(), v, point(1, 1))
		k.refused("Differs", err, backend.ErrNotFound)
	})
}

func testVolumeClones(t T, s Store) {
	t.Run("ACloneOnce", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		from, other := k.take(v, point(1, 1)), k.take(v, point(1, 2))
		c := k.cloned(v, from.Name)
		spec := backend.Spec{Dataset: c.Dataset, Size: v.Size, Epoch: 1}
		again, err := k.a.CloneVolume(t.Context(), v, from.Name, spec)
		if err != nil || again.ID != c.ID || c.Size != v.Size || len(c.Snapshots) != 0 {
			t.Errorf("CloneVolume = %+v, then %+v, %v; want the same", c, again, err)
		}
		_, err = k.a.CloneVolume(t.Context(), v, other.Name, spec)
		k.refused("CloneVolume of another snapshot", err, backend.ErrExists)
		if got := k.names(c); len(got) != 0 {
			t.Errorf("the clone has snapshots %v", got)
		}
	})
	t.Run("InAnyOrder", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		one, two := k.take(v, point(1, 1)), k.take(v, point(1, 2))
		a, b := k.cloned(v, one.Name), k.cloned(v, two.Name)
		of := k.take(a, point(1, 1))
		c := k.cloned(a, of.Name)
		k.must(k.a.DeleteSnapshot(t.Context(), v, one.Name))
		k.must(k.machines.a.Destroy(t.Context(), b))
		k.must(k.machines.b.Destroy(t.Context(), v))
		k.must(k.machines.a.Destroy(t.Context(), a))
		if again, err := k.a.CloneVolume(t.Context(), a, of.Name, backend.Spec{Dataset: c.Dataset, Size: c.Size}); err != nil || again.ID != c.ID {
			t.Errorf("CloneVolume again = %+v, %v; want %s, which exists", again, err, c.ID)
		}
		k.attach(k.machines.a, c)
	})
}

func testVolumeSnapshotsLost(t T, s Store) {
	for _, op := range []string{"snapshot", "delete-snapshot", "clone", "rollback"} {
		t.Run(op, func(t T) {
			k := keeping(t, s)
			k.back()
			wrapped := backend.WrapVolumes(k.machines.a, losing(op))
			lossy, _ := backend.VolumesAs[backend.VolumeSnapshotter](wrapped)
			lossyBack, _ := backend.VolumesAs[backend.VolumeReverter](wrapped)
			v := k.volume()
			again := func(do func() error) {
				t.Helper()
				err := do()
				if errors.Is(err, errLost) {
					err = do()
				}
				k.must(err)
			}
			name, spec := point(3, 4), backend.Spec{Dataset: newDataset(), Size: v.Size}
			again(func() error { _, err := lossy.TakeSnapshot(t.Context(), v, name); return err })
			k.attach(k.machines.a, v)
			again(func() error { return lossyBack.Rollback(t.Context(), v, name) })
			again(func() error { _, err := lossy.CloneVolume(t.Context(), v, name, spec); return err })
			again(func() error { return lossy.DeleteSnapshot(t.Context(), v, name) })
			clones := k.listed(k.machines.b, spec.Dataset)
			if len(clones) != 1 || len(k.names(v)) != 0 {
				t.Fatalf("clones = %+v, snapshots = %v; want one and none", clones, k.names(v))
			}
			k.clean(clones[0])
		})
	}
}

// held is what a volume has at places of a test.
func (k *keepers) held(v backend.Volume, places []int64) []byte {
	k.t.Helper()
	f := k.open(k.attach(k.machines.a, v), os.O_RDONLY)
	defer f.Close()
	var all []byte
	for _, at := range places {
		all = append(all, k.read(f, at)[0])
	}
	return all
}

func (k *keepers) put(v backend.Volume, places []int64, what byte) {
	k.t.Helper()
	f := k.open(k.attach(k.machines.a, v), os.O_RDWR)
	for _, at := range places {
		_, err := f.WriteAt(bytes.Repeat([]byte{what}, 4096), at)
		k.must(err)
	}
	k.must(errors.Join(f.Sync(), f.Close()))
}

func (k *keepers) differs(v backend.Volume, name string, want bool) {
	k.t.Helper()
	if got, err := k.back().Differs(k.t.Context(), v, name); err != nil || got != want {
		k.t.Errorf("Differs from %s = %v, %v; want %v", name, got, err, want)
	}
}

// counting writes numbers to two places of a device, each after the one before is flushed, until it is stopped; it says the last.
func (k *keepers) counting(device string, near, far int64) (stop func() uint64) {
	f := k.open(device, os.O_RDWR)
	done, ended := make(chan struct{}), make(chan uint64)
	go func() {
		for n := uint64(1); ; n++ {
			block := make([]byte, 4096)
			binary.LittleEndian.PutUint64(block, n)
			for _, at := range []int64{near, far} {
				_, err := f.WriteAt(block, at)
				if err := errors.Join(err, f.Sync()); err != nil {
					k.t.Error(err)
				}
			}
			select {
			case <-done:
				ended <- n
				return
			default:
			}
		}
	}()
	return func() uint64 {
		close(done)
		last := <-ended
		k.must(f.Close())
		return last
	}
}

func count(block []byte) uint64 { return binary.LittleEndian.Uint64(block) }

func testSnapshotDevices(t T, s Store) {
	t.Run("TheyHoldWhatWasWritten", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		places := []int64{0, 9 * mib, v.Size - 4096}
		k.put(v, places, 1)
		one := k.take(v, point(1, 1))
		k.differs(v, one.Name, false)
		k.put(v, places[1:], 2)
		k.put(v, []int64{20 * mib}, 7)
		two := k.take(v, point(1, 2))
		k.differs(v, one.Name, true)
		k.differs(v, two.Name, false)
		a, b := k.cloned(v, one.Name), k.cloned(v, two.Name)
		places = append(places, 20*mib)
		for range 2 {
			k.must(k.back().Rollback(t.Context(), v, one.Name))
			if got := k.held(v, places); !bytes.Equal(got, []byte{1, 1, 1, 0}) {
				t.Errorf("after the rollback the volume has %v", got)
			}
			k.differs(v, one.Name, false)
			k.differs(v, two.Name, true)
		}
		k.put(v, places, 3)
		k.must(k.back().Rollback(t.Context(), v, two.Name))
		k.must(k.machines.a.Detach(t.Context(), v))
		for _, x := range []struct {
			v    backend.Volume
			want []byte
		}{{v, []byte{1, 2, 2, 7}}, {a, []byte{1, 1, 1, 0}}, {b, []byte{1, 2, 2, 7}}} {
			if got := k.held(x.v, places); !bytes.Equal(got, x.want) {
				t.Errorf("volume %s has %v; want %v", x.v.ID, got, x.want)
			}
		}
		k.put(b, places, 9)
		k.must(errors.Join(k.machines.a.Detach(t.Context(), v), k.machines.a.Destroy(t.Context(), v)))
		if got := k.held(a, places); !bytes.Equal(got, []byte{1, 1, 1, 0}) {
			t.Errorf("after its origin's end the clone has %v", got)
		}
		if got := k.held(b, places); !bytes.Equal(got, []byte{9, 9, 9, 9}) {
			t.Errorf("after its origin's end the other clone has %v", got)
		}
	})
}

func testSnapshotInstants(t T, s Store) {
	t.Run("OneInstantUnderWrites", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		near, far := int64(mib), v.Size-mib
		stop := k.counting(k.attach(k.machines.a, v), near, far)
		var names []string
		for i := range uint64(3) {
			names = append(names, k.take(v, point(1, i+1)).Name)
		}
		last := stop()
		for _, name := range names {
			c := k.cloned(v, name)
			f := k.open(k.attach(k.machines.a, c), os.O_RDONLY)
			first, second := count(k.read(f, near)), count(k.read(f, far))
			if first != second && first != second+1 || first > last {
				t.Errorf("snapshot %s has %d, and %d that was written after it, of %d: not one instant", name, first, second, last)
			}
			k.must(errors.Join(f.Close(), k.machines.a.Detach(t.Context(), c)))
		}
	})
	t.Run("WhatIsInUseStays", func(t T) {
		k := keeping(t, s)
		v := k.volume()
		one := k.take(v, point(1, 1))
		k.put(v, []int64{0}, 2)
		f := k.open(k.attach(k.machines.a, v), os.O_RDWR|unix.O_EXCL)
		k.refused("Rollback", k.back().Rollback(t.Context(), v, one.Name), backend.ErrBusy)
		k.must(f.Close())
		if got := k.held(v, []int64{0}); got[0] != 2 {
			t.Errorf("after a refused rollback the volume has %v", got)
		}
	})
	t.Run("TheSizeStays", func(t T) {
		k := keeping(t, s)
		grower, ok := backend.VolumesAs[backend.Grower](k.machines.a)
		if !ok {
			t.Skip("this store does not enlarge volumes")
		}
		v := k.volume()
		k.put(v, []int64{0}, 1)
		one := k.take(v, point(1, 1))
		size := 2 * v.Size
		k.must(grower.Grow(t.Context(), v, size))
		v.Size = size
		k.put(v, []int64{0, size - 4096}, 2)
		k.must(k.back().Rollback(t.Context(), v, one.Name))
		if got := k.held(v, []int64{0, size - 4096}); !bytes.Equal(got, []byte{1, 0}) {
			t.Errorf("after the rollback the volume has %v", got)
		}
		k.differs(v, one.Name, false)
		c := k.cloned(v, one.Name)
		if c.Size != size || !bytes.Equal(k.held(c, []int64{0, size - 4096}), []byte{1, 0}) {
			t.Errorf("the clone has %d bytes; want %d, and zeros beyond its snapshot", c.Size, size)
		}
	})
}

// asks counts the calls of a store, by method.
func (n *volumeNode) asks() map[string]int {
	all := map[string]int{}
	for _, s := range n.Stats() {
		all[strings.TrimPrefix(s.Op, "store-")] = s.Calls
	}
	return all
}
