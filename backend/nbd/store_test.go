// SPDX-License-Identifier: Apache-2.0

package nbd_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

func put(t *testing.T, device, text string, at int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, device string, at int64, length int) string {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := make([]byte, length)
	if _, err := f.ReadAt(text, at); err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestVolumeGoesFromMachineToMachineWithItsContent(t *testing.T) {
	w := newWorld(t)
	one, two := w.machine(), w.machine()
	v := w.volume(one)
	device := w.attach(one, v)
	put(t, device, "written by one", 4096)
	if again := w.attach(one, v); again != device {
		t.Errorf("second Attach = %s; want %s", again, device)
	}
	_, err := two.Attach(t.Context(), v)
	if !errors.Is(err, backend.ErrBusy) || !strings.Contains(err.Error(), nameOf(one)) {
		t.Errorf("Attach by another machine = %v; want %v naming %s", err, backend.ErrBusy, nameOf(one))
	}
	w.detach(one, v)
	if there := w.holder(one, v); there != "" || len(w.exports()) != 0 {
		t.Errorf("after Detach it is attached to %q with %d exports", there, len(w.exports()))
	}
	w.detach(one, v)
	if text := get(t, w.attach(two, v), 4096, 14); text != "written by one" {
		t.Errorf("two reads %q", text)
	}
	if there := w.holder(one, v); there != nameOf(two) {
		t.Errorf("it is attached to %q; want two", there)
	}
	if err := two.Destroy(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Destroy while attached = %v; want %v", err, backend.ErrBusy)
	}
	w.detach(two, v)
	for range 2 {
		if err := two.Destroy(t.Context(), v); err != nil {
			t.Error(err)
		}
	}
	if _, err := one.Attach(t.Context(), v); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("Attach after Destroy = %v; want %v", err, backend.ErrNotFound)
	}
}

// The evicted machine lives, knows nothing, and goes on writing, also after another has the volume.
// The store's volumes are all alike: a profile is for what is made on them, and nothing that the store could refuse.
func TestAProfileIsNotTheStoresMatter(t *testing.T) {
	w := newWorld(t)
	one := w.machine()
	spec := backend.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: 64 << 20, Profile: "gold"}
	for range 2 {
		v, err := one.Create(t.Context(), spec)
		if err != nil || v.Dataset != spec.Dataset || v.Profile != "" {
			t.Errorf("Create with a profile = %+v, %v", v, err)
		}
	}
}

func TestWritesOfAnEvictedMachineNeverReachTheVolume(t *testing.T) {
	w := newWorld(t)
	one, two := w.machine(), w.machine()
	v := w.volume(one)
	f, err := os.OpenFile(w.attach(one, v), os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan int64)
	started := make(chan struct{})
	go func() { // numbers every block, again and again, as long as it can
		written := int64(0)
		for n := int64(0); ; n++ {
			select {
			case <-stop:
				stopped <- written
				return
			default:
			}
			if _, err := f.WriteAt(bytes.Repeat([]byte{0xbb}, 4096), 4096*(n%(size/4096))); err != nil {
				continue
			}
			if written++; written == 10 {
				close(started)
			}
		}
	}()
	<-started
	if err := two.Evict(t.Context(), v, nameOf(one)); err != nil {
		t.Fatal(err)
	}
	before := w.content(v)
	device := w.attach(two, v)
	put(t, device, "two is the owner", 0)
	copy(before, "two is the owner")
	w.restart("this boot") // a store that starts anew does not let it in either
	put(t, device, "two still is it!", 0)
	copy(before, "two still is it!")
	close(stop)
	if there := w.holder(one, v); there != nameOf(two) {
		t.Errorf("it is attached to %q; want two", there)
	}
	w.detach(two, v) // nothing is under way any more
	if after := w.content(v); !bytes.Equal(before, after) {
		t.Error("the volume has changed under its new owner")
	}
	t.Logf("one had written %d blocks", <-stopped)
	if err := f.Close(); err != nil {
		t.Log("close: ", err)
	}
	if err := one.Detach(t.Context(), v); err != nil {
		t.Errorf("Detach of the evicted machine = %v", err)
	}
	if there := w.holder(one, v); there != "" {
		t.Errorf("it is attached to %q", there)
	}
}
