// SPDX-License-Identifier: Apache-2.0

package mem_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// storeHarness is a store that two machines share.
type storeHarness struct {
	store *mem.Store
	dir   string // of the devices' files; empty: they are names
}

func newStore(t *testing.T, devices bool) *storeHarness {
	t.Helper()
	if !devices {
		return &storeHarness{mem.NewStore(""), ""}
	}
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	// Not t.TempDir: /tmp may be in memory, which knows no direct I/O.
	dir, err := os.MkdirTemp("/var/tmp", "flocker-store-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		loops, err := mount.Loops()
		for _, l := range loops {
			if strings.HasPrefix(l.File, dir+"/") {
				err = errors.Join(err, fmt.Errorf("loop device %s is left", l.Device), mount.RemoveLoop(t.Context(), l))
			}
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return &storeHarness{mem.NewStore(dir), dir}
}

func (h *storeHarness) Machine(_ *testing.T, i int) backend.Volumes {
	return h.store.Machine("ours", fmt.Sprint("machine-", i))
}

func (h *storeHarness) OtherCluster(*testing.T) backend.Volumes {
	return h.store.Machine("theirs", "machine-0")
}

func (h *storeHarness) Foreign(t *testing.T) func() error {
	t.Helper()
	nobodys := backend.Volume{ID: "nobodys", Dataset: cluster.DatasetID(uuid.NewString()), Size: 1 << 20}
	if err := h.store.Tag("", nobodys); err != nil {
		t.Fatal(err)
	}
	return func() error {
		all, err := h.store.Machine("", "machine-0").List(t.Context())
		if err == nil && (len(all) != 1 || !reflect.DeepEqual(all[0], nobodys)) {
			err = fmt.Errorf("foreign volumes = %+v; want %+v", all, nobodys)
		}
		return err
	}
}

func (h *storeHarness) Vanish(_ *testing.T, v backend.Volume) { h.store.Vanish(v.ID) }

func (h *storeHarness) Twin(t *testing.T, v backend.Volume) bool {
	t.Helper()
	v.ID += "-twin"
	if err := h.store.Tag("ours", v); err != nil {
		t.Fatal(err)
	}
	return true
}

func (h *storeHarness) Mounts(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() {
		points, err := filepath.Glob(root + "/*")
		for _, point := range points {
			err = errors.Join(err, mount.RemovePoint(point))
		}
		if err != nil {
			t.Error(err)
		}
	})
	return root
}

func (h *storeHarness) Smallest() int64 { return 64 << 20 }

func (h *storeHarness) Layer(t *testing.T, store backend.Volumes, around ...backend.Around) backend.Driver {
	t.Helper()
	if h.dir == "" {
		return nil
	}
	d, err := block.New(t.Context(), store, block.Config{Around: around})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStoreContract(t *testing.T) {
	backendtest.RunVolumes(t, func(t *testing.T) backendtest.Store { return newStore(t, false) })
}

func TestStoreContractWithDevices(t *testing.T) {
	if testing.Short() {
		t.Skip("makes loop devices")
	}
	backendtest.RunVolumes(t, func(t *testing.T) backendtest.Store { return newStore(t, true) })
}

func TestAThousandVolumesAreOneListing(t *testing.T) {
	const many = 1000
	store := mem.NewStore("").Machine("ours", "machine-0")
	for range many {
		if _, err := store.Create(t.Context(), backend.Spec{Dataset: cluster.DatasetID(uuid.NewString())}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := block.New(t.Context(), store, block.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if copies, err := d.List(t.Context()); err != nil || len(copies) != many {
			t.Fatalf("List has %d copies, %v; want %d", len(copies), err, many)
		}
	}
	if n := listings(backend.NewPool(d, backend.Options{})); n != 1 {
		t.Errorf("%d listings; want one", n)
	}
}

// listings are how often a store was asked for all its volumes.
func listings(p *backend.Pool) int {
	for _, s := range p.Stats() {
		if s.Op == "store-list" {
			return s.Calls
		}
	}
	return 0
}

// What a failed call did only the store knows; that a volume is in use is an answer like any other.
func TestAStoreIsAskedAgainAfterItFailed(t *testing.T) {
	store := mem.NewStore("")
	ours, theirs := store.Machine("ours", "machine-0"), store.Machine("ours", "machine-1")
	v, err := theirs.Create(t.Context(), backend.Spec{Dataset: cluster.DatasetID(uuid.NewString())})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Attach(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("the answer got lost")
	var failure error
	after := func(op string, _ cluster.DatasetID) error {
		if op == "attach" {
			return failure
		}
		return nil
	}
	d, err := block.New(t.Context(), ours, block.Config{Around: []backend.Around{fault.Store(nil, after)}})
	if err != nil {
		t.Fatal(err)
	}
	pool := backend.NewPool(d, backend.Options{})
	want := 1
	look := func(what string) {
		t.Helper()
		for range 3 {
			if _, copies, err := pool.Observe(t.Context()); err != nil || copies[v.Dataset].Volume != v.ID {
				t.Errorf("Observe after %s = %+v, %v; want volume %s", what, copies, err, v.ID)
			}
		}
		if n := listings(pool); n != want {
			t.Errorf("%d listings after %s; want %d", n, what, want)
		}
	}
	look("the start")
	if err := pool.Attach(t.Context(), v.Dataset); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Attach = %v; want %v", err, backend.ErrBusy)
	}
	look("an attach of what another has")
	failure = lost
	if err := pool.Attach(t.Context(), v.Dataset); !errors.Is(err, lost) {
		t.Errorf("Attach = %v; want %v", err, lost)
	}
	want++
	look("a failure")
	pool.Refresh()
	want++
	look("Refresh")
}
