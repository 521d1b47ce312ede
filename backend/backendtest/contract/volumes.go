// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// machines are both machines of a store, and short words for what tests do with them.
type machines struct {
	Store
	t    T
	a, b backend.Volumes
}

// both opens the store on both machines. Where there is one, it has two processes that opened the store.
func both(t T, s Store) *machines {
	t.Helper()
	return &machines{s, t, s.Machine(t, 0), second(t, s)}
}

// second opens the store on the second machine, or again on the only one.
func second(t T, s Store) backend.Volumes {
	t.Helper()
	return s.Machine(t, s.Machines()-1)
}

// apart is both, for what takes two machines.
func apart(t T, s Store) *machines {
	t.Helper()
	needsMachine(t, s, 1)
	return both(t, s)
}

// needsMachine skips what there is no machine for.
func needsMachine(t T, s Store, i int) {
	t.Helper()
	if i >= s.Machines() {
		t.Skip("takes a second machine that shares the store")
	}
}

func (m *machines) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machines) refused(what string, err, want error) {
	m.t.Helper()
	if !errors.Is(err, want) {
		m.t.Errorf("%s = %v; want %v", what, err, want)
	}
}

// volume is a fresh one that goes away after the test.
func (m *machines) volume() backend.Volume {
	m.t.Helper()
	v, err := m.a.Create(m.t.Context(), backend.Spec{Dataset: newDataset(), Size: m.Smallest(), Epoch: 1})
	m.must(err)
	m.clean(v)
	return v
}

func (m *machines) clean(v backend.Volume) {
	ctx := context.WithoutCancel(m.t.Context())
	m.t.Cleanup(func() {
		if err := errors.Join(m.a.Detach(ctx, v), m.b.Detach(ctx, v), m.a.Destroy(ctx, v)); err != nil {
			m.t.Errorf("clean volume %s: %v", v.ID, err)
		}
	})
}

func newDataset() cluster.DatasetID { return cluster.DatasetID(uuid.NewString()) }

// listed is what a machine lists of a dataset.
func (m *machines) listed(on backend.Volumes, id cluster.DatasetID) []backend.Volume {
	m.t.Helper()
	all, err := on.List(m.t.Context())
	m.must(err)
	return slices.DeleteFunc(all, func(v backend.Volume) bool { return v.Dataset != id })
}

func (m *machines) attach(on backend.Volumes, v backend.Volume) string {
	m.t.Helper()
	device, err := on.Attach(m.t.Context(), v)
	m.must(err)
	return device
}

// device is what a machine's kernel has of a volume.
func (m *machines) device(on backend.Volumes, v backend.Volume) string {
	m.t.Helper()
	attached, err := on.Attached(m.t.Context())
	m.must(err)
	return attached[v.ID]
}

func (m *machines) name(on backend.Volumes) string {
	m.t.Helper()
	name, err := on.Machine(m.t.Context())
	m.must(err)
	return name
}

func testNames(t T, s Store) {
	m := both(t, s)
	a, b := m.name(m.a), m.name(m.b)
	if a == "" || a == b && s.Machines() > 1 {
		t.Errorf("Machine = %q and %q; want two names", a, b)
	}
	if again := m.name(s.Machine(t, 0)); again != a {
		t.Errorf("Machine after a restart = %q; want %q", again, a)
	}
}

func testVolumeLife(t T, s Store) {
	m := both(t, s)
	t.Run("AnEmptyStoreListsNothing", func(t T) {
		if all, err := m.a.List(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("List = %v, %v; want nothing", all, err)
		}
	})
	t.Run("WhatIsCreatedIsListedEverywhere", func(t T) {
		m := both(t, s)
		v := m.volume()
		if v.ID == "" || v.Size < m.Smallest() || v.Machine != "" {
			t.Errorf("Create = %+v; want a detached volume of %d bytes", v, m.Smallest())
		}
		for _, on := range []backend.Volumes{m.a, m.b, s.Machine(t, 0)} {
			if got := m.listed(on, v.Dataset); len(got) != 1 || !reflect.DeepEqual(got[0], v) {
				t.Errorf("List = %+v; want %+v", got, v)
			}
		}
	})
	t.Run("CreateTwiceMakesOne", func(t T) {
		m := both(t, s)
		v := m.volume()
		for _, on := range []backend.Volumes{m.a, m.b} {
			again, err := on.Create(t.Context(), backend.Spec{Dataset: v.Dataset, Size: m.Smallest(), Epoch: 1})
			if err != nil || again.ID != v.ID {
				t.Errorf("Create again = %+v, %v; want %+v", again, err, v)
			}
		}
		if got := m.listed(m.a, v.Dataset); len(got) != 1 {
			t.Errorf("List = %+v; want one volume", got)
		}
	})
	t.Run("CreateWithAnotherSizeIsRefused", func(t T) {
		m := both(t, s)
		v := m.volume()
		_, err := m.a.Create(t.Context(), backend.Spec{Dataset: v.Dataset, Size: 2 * v.Size})
		m.refused("Create", err, backend.ErrExists)
	})
	t.Run("AProfileIsKept", func(t T) { testProfiles(t, s) })
	t.Run("ASizeOfTheStoresOwn", func(t T) {
		m := both(t, s)
		v, err := m.a.Create(t.Context(), backend.Spec{Dataset: newDataset()})
		m.must(err)
		m.clean(v)
		if v.Size == 0 {
			t.Error("size = 0; want the store's default")
		}
	})
	t.Run("DestroyTwiceAndAttachNoMore", func(t T) {
		m := both(t, s)
		v := m.volume()
		m.must(m.a.Destroy(t.Context(), v))
		m.must(m.b.Destroy(t.Context(), v))
		if got := m.listed(m.b, v.Dataset); len(got) != 0 {
			t.Errorf("List = %+v; want nothing", got)
		}
		_, err := m.a.Attach(t.Context(), v)
		m.refused("Attach of a destroyed one", err, backend.ErrNotFound)
		m.must(m.a.Detach(t.Context(), v))
	})
	t.Run("AVolumeThatVanished", func(t T) {
		m := both(t, s)
		v := m.volume()
		m.Vanish(t, v)
		_, err := m.a.Attach(t.Context(), v)
		m.refused("Attach", err, backend.ErrNotFound)
		m.must(errors.Join(m.a.Detach(t.Context(), v), m.a.Destroy(t.Context(), v)))
	})
}

func testProfiles(t T, s Store) {
	m := both(t, s)
	store, ok := backend.VolumesAs[backend.StoreProfiler](m.a)
	if !ok || len(store.StoreProfiles()) == 0 {
		t.Skip("the store has no profiles of its own")
	}
	for _, profile := range store.StoreProfiles() {
		spec := backend.Spec{Dataset: newDataset(), Size: m.Smallest(), Profile: profile}
		v, err := m.a.Create(t.Context(), spec)
		m.must(err)
		m.clean(v)
		if again, err := m.b.Create(t.Context(), spec); err != nil || again.ID != v.ID {
			t.Errorf("Create with profile %s again = %+v, %v; want %+v", profile, again, err, v)
		}
		spec.Profile = ""
		_, err = m.a.Create(t.Context(), spec)
		m.refused("Create without the profile", err, backend.ErrExists)
	}
}

func testVolumeAttach(t T, s Store) {
	t.Run("AttachedHereAndListedSo", func(t T) {
		m := apart(t, s)
		v, other := m.volume(), m.volume()
		if device := m.device(m.a, v); device != "" {
			t.Errorf("Attached = %s; want nothing yet", device)
		}
		device := m.attach(m.a, v)
		if again := m.attach(m.a, v); again != device {
			t.Errorf("Attach again = %s; want %s", again, device)
		}
		if got := m.device(s.Machine(t, 0), v); got != device {
			t.Errorf("Attached after a restart = %q; want %s", got, device)
		}
		if got := m.device(m.b, v); got != "" {
			t.Errorf("Attached on the other machine = %s; want nothing", got)
		}
		if got := m.listed(m.b, v.Dataset); len(got) != 1 || got[0].Machine != m.name(m.a) {
			t.Errorf("List = %+v; want it on %s", got, m.name(m.a))
		}
		if got := m.listed(m.b, other.Dataset); len(got) != 1 || got[0].Machine != "" {
			t.Errorf("List = %+v; want it on none", got)
		}
		if second := m.attach(m.a, other); second == device {
			t.Errorf("both volumes have the device %s", device)
		}
	})
	t.Run("ElsewhereNamesTheMachineAndChangesNothing", func(t T) {
		m := apart(t, s)
		v := m.volume()
		device := m.attach(m.a, v)
		for range 2 {
			_, err := m.b.Attach(t.Context(), v)
			m.refused("Attach on the other machine", err, backend.ErrBusy)
			if err != nil && !strings.Contains(err.Error(), m.name(m.a)) {
				t.Errorf("Attach = %v; want the name %s in it", err, m.name(m.a))
			}
			m.must(m.b.Detach(t.Context(), v))
		}
		if got := m.device(m.a, v); got != device || m.listed(m.a, v.Dataset)[0].Machine != m.name(m.a) {
			t.Errorf("Attached = %q; want %s as before", got, device)
		}
	})
	t.Run("DestroyWhileAttachedIsRefused", func(t T) {
		m := both(t, s)
		v := m.volume()
		m.attach(m.a, v)
		m.refused("Destroy", m.a.Destroy(t.Context(), v), backend.ErrBusy)
		m.refused("Destroy from elsewhere", m.b.Destroy(t.Context(), v), backend.ErrBusy)
		if got := m.listed(m.a, v.Dataset); len(got) != 1 {
			t.Errorf("List = %+v; want the volume", got)
		}
	})
	t.Run("ThereAndBack", func(t T) {
		m := both(t, s)
		v := m.volume()
		for range 2 {
			for _, on := range []backend.Volumes{m.a, m.b} {
				m.attach(on, v)
				for range 2 {
					m.must(on.Detach(t.Context(), v))
				}
				if got := m.device(on, v); got != "" {
					t.Errorf("Attached after Detach = %s; want nothing", got)
				}
				if got := m.listed(on, v.Dataset); len(got) != 1 || got[0].Machine != "" {
					t.Errorf("List after Detach = %+v; want it on none", got)
				}
			}
		}
	})
	t.Run("AStaleNotionOfTheVolumeServes", func(t T) {
		m := both(t, s)
		v := m.volume()
		stale := v
		stale.Machine = "nobody"
		m.attach(m.a, stale)
		m.must(m.a.Detach(t.Context(), stale))
		m.must(m.a.Destroy(t.Context(), stale))
	})
}

func testForeignVolumes(t T, s Store) {
	m := both(t, s)
	intact := s.Foreign(t)
	v := m.volume()
	if all, err := m.a.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("List = %+v, %v; want only %s", all, err, v.ID)
	}
	m.must(intact())
	others := s.OtherCluster(t)
	if others == nil {
		t.Log("each cluster has a store of its own here")
		return
	}
	theirs, err := others.Create(t.Context(), backend.Spec{Dataset: v.Dataset, Size: m.Smallest()})
	m.must(err)
	if theirs.ID == v.ID {
		t.Fatalf("another cluster was given our volume %s", v.ID)
	}
	if all, err := m.a.List(t.Context()); err != nil || len(all) != 1 || all[0].ID != v.ID {
		t.Errorf("List = %+v, %v; want only %s", all, err, v.ID)
	}
	_, err = m.a.Attach(t.Context(), theirs)
	m.refused("Attach of another cluster's", err, backend.ErrNotFound)
	m.must(errors.Join(m.a.Detach(t.Context(), theirs), m.a.Destroy(t.Context(), theirs)))
	if all, err := others.List(t.Context()); err != nil || len(all) != 1 || all[0].ID != theirs.ID {
		t.Errorf("List of the other cluster = %+v, %v; want only %s", all, err, theirs.ID)
	}
	m.must(others.Destroy(t.Context(), theirs))
}

func testVolumeRace(t T, s Store) {
	m := apart(t, s)
	v := m.volume()
	for round := range 5 {
		won := m.race(v)
		winners := 0
		for i, on := range []backend.Volumes{m.a, m.b} {
			if won[i] > 0 {
				winners++
				if won[i] != 4 {
					t.Errorf("round %d: %d of 4 attaches on the winner succeeded", round, won[i])
				}
				m.must(on.Detach(t.Context(), v))
			}
		}
		if winners != 1 {
			t.Fatalf("round %d: %d machines have the volume; want one", round, winners)
		}
	}
}

// race lets both machines attach a volume four times at once, and counts how often each was told that it has it.
func (m *machines) race(v backend.Volume) [2]int {
	var all sync.WaitGroup
	var mu sync.Mutex
	var won [2]int
	begin := make(chan struct{})
	for i := range 8 {
		on := []backend.Volumes{m.a, m.b}[i%2]
		all.Go(func() {
			<-begin
			_, err := on.Attach(m.t.Context(), v)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won[i%2]++
			case !errors.Is(err, backend.ErrBusy):
				m.t.Errorf("Attach = %v; want success or %v", err, backend.ErrBusy)
			}
		})
	}
	close(begin)
	all.Wait()
	return won
}

func testManyVolumes(t T, s Store) {
	m := both(t, s)
	const many = 20
	want := map[string]bool{}
	for range many {
		want[m.volume().ID] = true
	}
	all, err := m.b.List(t.Context())
	m.must(err)
	for _, v := range all {
		delete(want, v.ID)
	}
	if len(all) != many || len(want) != 0 {
		t.Errorf("List has %d volumes without %v; want all %d", len(all), want, many)
	}
}

var errLost = errors.New("the answer got lost")

// losing lets every call take effect and its answer get lost, the first time.
func losing(op string) backend.Around {
	lost := false
	return func(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
		err := do(ctx)
		if call.Op == op && !lost && err == nil {
			lost = true
			return errLost
		}
		return err
	}
}

func testVolumeLostAnswers(t T, s Store) {
	for _, op := range []string{"create", "attach", "detach", "destroy"} {
		t.Run(op, func(t T) {
			m := both(t, s)
			a := backend.WrapVolumes(m.a, losing(op))
			id, lost := newDataset(), 0
			again := func(do func() error) {
				t.Helper()
				err := do()
				if errors.Is(err, errLost) {
					lost++
					err = do()
				}
				m.must(err)
			}
			var v backend.Volume
			again(func() (err error) {
				v, err = a.Create(t.Context(), backend.Spec{Dataset: id, Size: m.Smallest()})
				return err
			})
			if got := m.listed(m.b, id); len(got) != 1 || !reflect.DeepEqual(got[0], v) {
				t.Fatalf("List = %+v; want %+v", got, v)
			}
			again(func() error {
				_, err := a.Attach(t.Context(), v)
				return err
			})
			again(func() error { return a.Detach(t.Context(), v) })
			again(func() error { return a.Destroy(t.Context(), v) })
			if lost != 1 {
				t.Errorf("%d answers got lost; want one", lost)
			}
		})
	}
}

func testVolumeEvict(t T, s Store) {
	m := apart(t, s)
	evicter, ok := backend.VolumesAs[backend.Evicter](m.b)
	if !ok {
		t.Skip("this store cannot keep a machine from a volume")
	}
	v := m.volume()
	m.attach(m.a, v)
	m.must(evicter.Evict(t.Context(), v, "nobody"))
	if got := m.listed(m.b, v.Dataset); len(got) != 1 || got[0].Machine != m.name(m.a) {
		t.Errorf("List = %+v; want it where it was, after nobody was evicted", got)
	}
	for range 2 {
		m.must(evicter.Evict(t.Context(), v, m.name(m.a)))
	}
	m.attach(m.b, v)
	m.must(evicter.Evict(t.Context(), v, m.name(m.a)))
	if got := m.listed(m.b, v.Dataset); len(got) != 1 || got[0].Machine != m.name(m.b) {
		t.Errorf("List = %+v; want it on %s", got, m.name(m.b))
	}
	m.must(errors.Join(m.a.Detach(t.Context(), v), m.b.Detach(t.Context(), v)))
	m.attach(m.a, v)
}
