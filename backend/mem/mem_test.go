// SPDX-License-Identifier: Apache-2.0

package mem_test

import (
	"errors"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
)

// harness is the twin's. Nothing in it can be half done, so that there is nothing to interrupt and nothing foreign.
type harness struct{ pool *mem.Driver }

func (h harness) Driver() backend.Driver                  { return h.pool }
func (h harness) Reopen(*testing.T) backend.Driver        { return h.pool }
func (h harness) Path(id cluster.DatasetID) string        { return "/flocker/" + string(id) }
func (h harness) Interrupt(*testing.T, cluster.DatasetID) {}
func (h harness) Foreign(*testing.T) func() error         { return func() error { return nil } }

func (h harness) Write(id cluster.DatasetID, name string, data []byte) error {
	return h.pool.Write(id, name, data)
}

func (h harness) Root(id cluster.DatasetID) (cluster.Root, error) { return h.pool.Root(id) }

func (h harness) Files(id cluster.DatasetID) (map[string][]byte, error) { return h.pool.Files(id) }

func (h harness) Hold(t *testing.T, id cluster.DatasetID, how backendtest.Held) func() {
	t.Helper()
	release, err := h.pool.Hold(id, string(how), how != backendtest.HeldThroughMount)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func TestContract(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backendtest.Harness { return harness{mem.New(512 << 20)} })
}

func TestWritableIsTheTruth(t *testing.T) {
	d, id := mem.New(1<<20), cluster.DatasetID("d")
	want := func(writable bool) {
		t.Helper()
		if got := d.Writable(id); got != writable {
			t.Errorf("Writable = %v; want %v", got, writable)
		}
		if err := d.Write(id, "file", nil); (err == nil) != writable {
			t.Errorf("Write = %v; want success: %v", err, writable)
		}
	}
	want(false)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}))
	want(false)
	must(d.Mount(t.Context(), id, "/flocker/d"))
	want(true)
	release, err := d.Hold(id, "a forgotten shell", true)
	must(err)
	must(d.Unmount(t.Context(), id))
	want(true)
	release()
	want(false)
	must(d.Mount(t.Context(), id, "/flocker/d"))
	d.Reboot()
	want(false)
}

func TestAFullPoolTakesNoMore(t *testing.T) {
	d, id := mem.New(100), cluster.DatasetID("d")
	if err := errors.Join(d.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}), d.Mount(t.Context(), id, "/flocker/d")); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(id, "file", make([]byte, 200)); !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("Write = %v; want %v", err, backend.ErrNoSpace)
	}
}
