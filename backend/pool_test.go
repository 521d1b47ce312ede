// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
)

const id = cluster.DatasetID("5e4f7f7c-0000-4000-8000-000000000001")

// bare hides every optional method of a driver.
type bare struct{ backend.Driver }

func newPool(driver backend.Driver) *backend.Pool {
	return backend.NewPool(driver, backend.Options{Name: "mem"})
}

func TestIDsAndNamesAreNeverPaths(t *testing.T) {
	p := newPool(mem.New(1 << 30))
	for _, bad := range []cluster.DatasetID{"", "..", "../../etc", "5E4F7F7C-0000-4000-8000-000000000001", id + "/..", id + "\n"} {
		if err := p.Create(t.Context(), backend.Spec{Dataset: bad}); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("Create(%q) = %v; want %v", bad, err, cluster.ErrInvalid)
		}
		if err := p.Send(t.Context(), bad, "e0000000001-s0000000001", "", io.Discard); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("Send(%q) = %v; want %v", bad, err, cluster.ErrInvalid)
		}
	}
	for _, bad := range []string{"", "head", "../head", "e1-s1", "e0000000001-s0000000001/..", "e99999999999999999999-s0000000001"} {
		if err := p.DeleteSnapshot(t.Context(), id, bad); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("DeleteSnapshot(%q) = %v; want %v", bad, err, cluster.ErrInvalid)
		}
	}
}

func TestSizesAreRoundedUp(t *testing.T) {
	p := newPool(mem.New(1 << 30))
	for range 2 {
		if err := p.Create(t.Context(), backend.Spec{Dataset: id, Size: 1}); err != nil {
			t.Fatal(err)
		}
	}
	_, copies, err := p.Observe(t.Context())
	if err != nil || copies[id].Size != 1<<20 {
		t.Errorf("size = %d, %v; want 1 MiB", copies[id].Size, err)
	}
	for _, bad := range []int64{-1, 1<<62 + 1, -1 << 63} {
		if err := p.Resize(t.Context(), id, bad); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("Resize(%d) = %v; want %v", bad, err, cluster.ErrInvalid)
		}
	}
}

func TestCapabilitiesAreTheInnermostDrivers(t *testing.T) {
	all := cluster.Capabilities{Replicates: true, Snapshots: true, Reverts: true, Resizes: true}
	for _, c := range []struct {
		name   string
		driver backend.Driver
		want   cluster.Capabilities
	}{
		{"mem", mem.New(0), all},
		{"mem with faults", &fault.Driver{Inner: mem.New(0)}, all},
		{"bare", bare{mem.New(0)}, cluster.Capabilities{}},
		{"bare with faults", &fault.Driver{Inner: bare{mem.New(0)}}, cluster.Capabilities{}},
	} {
		if got := newPool(c.driver).Capabilities(); got != c.want {
			t.Errorf("Capabilities of %s = %+v; want %+v", c.name, got, c.want)
		}
	}
	if err := newPool(bare{mem.New(0)}).DropHead(t.Context(), id); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("DropHead = %v; want %v", err, backend.ErrUnsupported)
	}
}

func TestFailuresNameTheDatasetAndAreCounted(t *testing.T) {
	broken := errors.New("the disk is on fire")
	driver := &fault.Driver{Inner: mem.New(1 << 30), Before: func(op string, _ cluster.DatasetID) error {
		if op == "list" || op == "mount" {
			return broken
		}
		return nil
	}}
	p := newPool(driver)
	if _, err := p.Mount(t.Context(), id); !errors.Is(err, broken) || !strings.Contains(err.Error(), "mount dataset "+string(id)) {
		t.Errorf("Mount = %v; want the driver's error with the dataset", err)
	}
	storage, copies, err := p.Observe(t.Context())
	if !errors.Is(err, broken) || !strings.Contains(storage.Error, broken.Error()) || copies != nil {
		t.Errorf("Observe = %+v, %v, %v; want the driver's error", storage, copies, err)
	}
	for _, s := range p.Stats() {
		if s.Calls != 1 || s.Failures != 1 {
			t.Errorf("Stats of %s = %d calls, %d failures; want one of each", s.Op, s.Calls, s.Failures)
		}
	}
}

// TestOneChangeAtATime holds a change of a dataset inside the driver while others are asked for.
func TestOneChangeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inside, finish := make(chan struct{}), make(chan struct{})
		driver := &fault.Driver{Inner: mem.New(1 << 30), Before: func(op string, of cluster.DatasetID) error {
			if op == "create" && of == id {
				inside <- struct{}{}
				<-finish
			}
			return nil
		}}
		p := newPool(driver)
		done := make(chan error)
		go func() { done <- p.Create(t.Context(), backend.Spec{Dataset: id}) }()
		<-inside
		go func() { done <- p.SetEpoch(t.Context(), id, 2, "") }()
		synctest.Wait() // SetEpoch waits for its turn
		other := cluster.DatasetID("5e4f7f7c-0000-4000-8000-000000000002")
		if err := p.Create(t.Context(), backend.Spec{Dataset: other}); err != nil {
			t.Errorf("Create of another dataset = %v", err)
		}
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Destroy(impatient, id); !errors.Is(err, context.Canceled) {
			t.Errorf("Destroy with a cancelled context = %v; want %v", err, context.Canceled)
		}
		close(finish)
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		_, copies, err := p.Observe(t.Context())
		if err != nil || copies[id].Epoch != 2 {
			t.Errorf("Observe = %+v, %v; want epoch 2", copies, err)
		}
	})
}

func TestDestroyDuringAReceiveIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(mem.New(1 << 30))
		r, w := io.Pipe()
		received := make(chan error)
		name := backend.Lineage{Epoch: 1, Serial: 1}.Name()
		go func() {
			_, err := p.Receive(t.Context(), backend.Arrival{Dataset: id}, backendtest.Saying(cluster.Snapshot{Name: name}), r)
			received <- err
		}()
		synctest.Wait()
		if err := p.Destroy(t.Context(), id); !errors.Is(err, backend.ErrBusy) {
			t.Errorf("Destroy = %v; want %v", err, backend.ErrBusy)
		}
		w.Close()
		if err := <-received; err == nil {
			t.Error("Receive of nothing = nil; want an error")
		}
		if err := p.Destroy(t.Context(), id); err != nil {
			t.Errorf("Destroy afterwards = %v", err)
		}
	})
}

func TestAnAnswerLostIsAskedAgain(t *testing.T) {
	lost := errors.New("no answer")
	first := true
	driver := &fault.Driver{Inner: mem.New(1 << 30), After: func(string, cluster.DatasetID) error {
		if first {
			first = false
			return lost
		}
		return nil
	}}
	p := newPool(driver)
	if err := p.Create(t.Context(), backend.Spec{Dataset: id}); !errors.Is(err, lost) {
		t.Errorf("Create = %v; want %v", err, lost)
	}
	if err := p.Create(t.Context(), backend.Spec{Dataset: id}); err != nil {
		t.Errorf("Create again = %v", err)
	}
}

func FuzzParseLineage(f *testing.F) {
	f.Add("e0000000001-s0000000002")
	f.Add("e18446744073709551615-s0000000000")
	f.Add("e00000000001-s0000000002")
	f.Fuzz(func(t *testing.T, name string) {
		if lineage, err := backend.ParseLineage(name); err == nil && lineage.Name() != name {
			t.Errorf("ParseLineage(%q).Name() = %q", name, lineage.Name())
		}
	})
}
