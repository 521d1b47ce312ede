// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

var errDied = errors.New("the process died")

// dying lets nothing through any more at the nth call, before or after it took effect.
func dying(at int, after bool) backend.Around {
	calls := 0
	return func(ctx context.Context, _ backend.StoreCall, do func(context.Context) error) error {
		calls++
		if calls > at || calls == at && !after {
			return errDied
		}
		if err := do(ctx); err != nil || calls < at {
			return err
		}
		return errDied
	}
}

func testNodesAfterCrashes(t T, s Store) {
	for _, after := range []bool{false, true} {
		for at := 1; at <= 6; at++ {
			t.Run(fmt.Sprintf("Call%d/%v", at, after), func(t T) {
				n := nodeOf(t, s, 0)
				id := n.dataset()
				n.layer(s.Machine(t, 0), dying(at+1, after)) // the machine's name is the first call
				if err := n.live(id); err != nil && !errors.Is(err, errDied) {
					t.Fatal(err)
				}
				for range 2 {
					n.restart()
					n.must(n.live(id))
					n.has(id, "who")
					n.giveUp(id)
				}
				all, err := second(t, s).List(t.Context())
				n.must(err)
				if len(all) != 1 {
					t.Errorf("List = %+v; want one volume", all)
				}
			})
		}
	}
}

// live takes a dataset from nothing, or from wherever it is, to where it is used.
func (n *volumeNode) live(id cluster.DatasetID) error {
	ctx := n.t.Context()
	if err := errors.Join(n.Create(ctx, n.spec(id))); err != nil {
		return err
	}
	if err := n.SetEpoch(ctx, id, 1, ""); err != nil {
		return err
	}
	if err := n.Mount(ctx, id, n.path(id)); err != nil {
		return err
	}
	n.write(id, "who")
	if err := errors.Join(n.Unmount(ctx, id), n.Released(ctx, id, "")); err != nil {
		return err
	}
	if err := n.Detach(ctx, id); err != nil {
		return err
	}
	if err := n.Attach(ctx, id); err != nil {
		return err
	}
	return n.Mount(ctx, id, n.path(id))
}

// late is a store that does not list a volume before it was asked for it a few times, and whose devices appear late and
// under another name.
type late struct {
	backend.Volumes
	dir string
	t   T

	mu     sync.Mutex
	hidden map[cluster.DatasetID]int
	links  sync.WaitGroup
}

func (l *late) Create(ctx context.Context, spec backend.Spec) (backend.Volume, error) {
	v, err := l.Volumes.Create(ctx, spec)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.hidden[spec.Dataset]; !known {
		l.hidden[spec.Dataset] = 3
	}
	return v, err
}

func (l *late) List(ctx context.Context) ([]backend.Volume, error) {
	all, err := l.Volumes.List(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(all, func(v backend.Volume) bool {
		l.hidden[v.Dataset]--
		return l.hidden[v.Dataset] >= 0
	}), err
}

func (l *late) Attach(ctx context.Context, v backend.Volume) (string, error) {
	device, err := l.Volumes.Attach(ctx, v)
	if err != nil {
		return "", err
	}
	link := filepath.Join(l.dir, v.ID)
	timer := time.NewTimer(30 * time.Millisecond)
	l.links.Go(func() {
		<-timer.C
		if err := os.Symlink(device, link); err != nil && !errors.Is(err, os.ErrExist) {
			l.t.Error(err)
		}
	})
	return link, nil
}

func (l *late) Detach(ctx context.Context, v backend.Volume) error {
	l.links.Wait()
	if err := os.Remove(filepath.Join(l.dir, v.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return l.Volumes.Detach(ctx, v)
}

func testNodesAndSlowStores(t T, s Store) {
	t.Run("AVolumeListedLateAndADeviceOfAnotherName", func(t T) {
		slow := &late{Volumes: s.Machine(t, 0), dir: t.TempDir(), t: t, hidden: map[cluster.DatasetID]int{}}
		t.Cleanup(slow.links.Wait)
		n := nodeOver(t, s, 0, slow)
		id := n.mounted()
		for range 4 {
			n.Refresh()
			c := n.copy(id)
			if c == nil || !c.Head || c.Mounted != n.path(id) {
				t.Fatalf("List = %+v; want the mounted head", c)
			}
			device, err := filepath.EvalSymlinks(c.Device)
			if err != nil || device != c.Device {
				t.Errorf("device = %s, %v; want the device itself", c.Device, err)
			}
		}
		n.giveUp(id)
		n.takeUp(id, 2)
		n.has(id, "first")
	})
	t.Run("AnAttachThatIsStuckEndsWithItsContext", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.created()
		n.must(n.Detach(t.Context(), id))
		stuck := func(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
			if call.Op == "attach" {
				<-ctx.Done()
				return ctx.Err()
			}
			return do(ctx)
		}
		n.layer(s.Machine(t, 0), stuck)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		n.refused("Attach", n.Attach(ctx, id), context.DeadlineExceeded)
		n.restart()
		n.takeUp(id, 2)
	})
	t.Run("ADeviceThatNeverComesEndsWithItsContext", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.created()
		n.must(n.Detach(t.Context(), id))
		n.layer(never{s.Machine(t, 0)})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		n.refused("Attach", n.Attach(ctx, id), context.DeadlineExceeded)
		n.restart()
		n.takeUp(id, 2)
	})
	t.Run("AListingThatFailsLeavesTheLast", func(t T) {
		n := nodeOf(t, s, 0)
		id := n.mounted()
		down := false
		n.layer(s.Machine(t, 0), func(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
			if down {
				return backend.ErrTemporary
			}
			return do(ctx)
		})
		n.copy(id)
		down = true
		n.Refresh()
		if c := n.copy(id); c == nil || c.Mounted != n.path(id) {
			t.Errorf("List while the store is down = %+v; want what was known", c)
		}
		n.refused("Reach while the store is down", n.Reach(t.Context()), backend.ErrTemporary)
		n.must(n.Unmount(t.Context(), id))
		n.mount(id)
		down = false
		n.must(n.Reach(t.Context()))
		n.layer(s.Machine(t, 0), func(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
			if call.Op == "list" {
				return backend.ErrTemporary
			}
			return do(ctx)
		})
		_, err := n.List(t.Context())
		n.refused("List of which nothing is known", err, backend.ErrTemporary)
		n.restart()
	})
}

// never is a store whose devices do not appear.
type never struct{ backend.Volumes }

func (n never) Attach(ctx context.Context, v backend.Volume) (string, error) {
	_, err := n.Volumes.Attach(ctx, v)
	return "/dev/flocker-there-is-no-such-device", err
}

func testIdle(t T, s Store) {
	n := nodeOf(t, s, 0)
	ids := []cluster.DatasetID{n.mounted(), n.created(), n.created()}
	n.must(n.Detach(t.Context(), ids[2]))
	n.restart()
	before, _ := n.calls()
	for range 100 {
		n.copy(ids[0])
	}
	if all, lists := n.calls(); all-before != 1 || lists != 1 {
		t.Errorf("looking made %d calls, %d of them listings; want one listing after the start", all-before, lists)
	}
	step := func(what string, want int, do func()) {
		t.Helper()
		before, lists := n.calls()
		do()
		n.copy(ids[0])
		all, listsNow := n.calls()
		if all-before != want || listsNow != lists {
			t.Errorf("%s made %d calls, %d of them listings; want %d and none", what, all-before, listsNow-lists, want)
		}
	}
	ctx := t.Context()
	id := ids[0]
	step("Unmount", 0, func() { n.must(n.Unmount(ctx, id)) })
	step("Released", 0, func() { n.must(n.Released(ctx, id, "")) })
	step("Detach", 1, func() { n.must(n.Detach(ctx, id)) })
	attach := 1
	if n.Abilities().Snapshots {
		attach = 2 // who had it before may have taken some
	}
	step("Attach", attach, func() { n.must(n.Attach(ctx, id)) })
	step("SetEpoch", 0, func() { n.must(n.SetEpoch(ctx, id, 2, "")) })
	step("Mount", 0, func() { n.mount(id) })
	fresh := n.dataset()
	step("Create", 2, func() { n.must(n.Create(ctx, n.spec(fresh))) })
	step("Destroy", 2, func() { n.must(n.Destroy(ctx, fresh)) })

	if s.Machines() < 2 {
		t.Log("what another machine made was not looked for: there is one machine")
		return
	}
	other := nodeOf(t, s, 1)
	theirs := other.created()
	other.must(other.Detach(ctx, theirs))
	_, lists := n.calls()
	n.must(n.Attach(ctx, theirs))
	if _, now := n.calls(); now != lists+1 {
		t.Errorf("Attach of what another made took %d listings; want one", now-lists)
	}
	n.must(n.Detach(ctx, theirs))
}

func testNodesEvict(t T, s Store) {
	a, b := nodeOf(t, s, 0), nodeOf(t, s, 1)
	id := a.mounted()
	b.refused("Attach", b.Attach(t.Context(), id), backend.ErrBusy)
	if c := b.copy(id); c == nil || c.Holder != a.Machine() || c.Device != "" {
		t.Errorf("List = %+v; want to be told that %s has it", c, a.Machine())
	}
	if _, can := backend.VolumesAs[backend.Evicter](s.Machine(t, 0)); !can {
		a.refused("Evict", a.Evict(t.Context(), id, b.Machine()), backend.ErrUnsupported)
		return
	}
	if !a.Abilities().Fences { // the machine is off, and the store does not know it
		a.must(a.Unmount(t.Context(), id))
		b.must(b.Evict(t.Context(), id, a.Machine()))
		b.takeUp(id, 2)
		b.has(id, "first")
		b.giveUp(id)
		return
	}
	b.must(b.Evict(t.Context(), id, a.Machine()))
	b.takeUp(id, 2)
	b.has(id, "first")
	// The evicted node knows nothing of it: its filesystem is mounted and its application writes.
	if err := os.WriteFile(filepath.Join(a.path(id), backend.DataDir, "late"), []byte("late"), 0o600); err != nil {
		t.Logf("Write on the evicted node = %v", err)
	}
	if f, err := os.Open(a.path(id)); err == nil {
		if err := errors.Join(syncFilesystem(f), f.Close()); err == nil {
			t.Error("flushing on the evicted node succeeded; want an error")
		}
	}
	b.write(id, "second")
	b.giveUp(id)
	b.takeUp(id, 2)
	b.has(id, "first")
	b.has(id, "second")
	if _, err := os.Stat(filepath.Join(b.path(id), backend.DataDir, "late")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stat of what the evicted node wrote = %v; want nothing there", err)
	}
	a.must(errors.Join(a.Unmount(t.Context(), id), a.Released(t.Context(), id, "")))
	a.must(a.Detach(t.Context(), id))
	a.refused("Attach while the other has it", a.Attach(t.Context(), id), backend.ErrBusy)
	b.giveUp(id)
	a.takeUp(id, 3)
	a.has(id, "second")
}

func testNodesGrow(t T, s Store) {
	n := nodeOf(t, s, 0)
	id := n.mounted()
	size := n.copy(id).Size
	if !n.Abilities().Resizes {
		n.refused("Resize", n.Resize(t.Context(), id, 2*size), backend.ErrUnsupported)
		t.Skip("this store cannot enlarge a volume")
	}
	n.refused("Resize to less", n.Resize(t.Context(), id, size/2), backend.ErrUnsupported)
	n.refused("Resize to no limit", n.Resize(t.Context(), id, 0), backend.ErrUnsupported)
	grow := func(what string, to int64) {
		t.Helper()
		for range 2 {
			if err := n.Resize(t.Context(), id, to); errors.Is(err, os.ErrPermission) {
				t.Skipf("the kernel does not let this process enlarge a filesystem: %v", err)
			} else {
				n.must(err)
			}
		}
		if c := n.copy(id); c.Size != to {
			t.Errorf("size %s = %d; want %d", what, c.Size, to)
		}
		if c := n.copy(id); c.Mounted == "" {
			n.must(n.Attach(t.Context(), id))
			n.mount(id)
		}
		if got := room(t, n.path(id)); got < to/2 {
			t.Errorf("the filesystem %s has %d bytes of %d", what, got, to)
		}
		n.has(id, "first")
	}
	grow("as it was", size)
	grow("while mounted", 4*size)
	n.must(n.Unmount(t.Context(), id))
	grow("while attached", 16*size)
	n.giveUp(id)
	grow("while detached", 64*size)
}
