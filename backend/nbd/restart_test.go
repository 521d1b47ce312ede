// SPDX-License-Identifier: Apache-2.0

package nbd_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/mount"
)

func TestServiceThatStartsAnewInterruptsNothing(t *testing.T) {
	w := newWorld(t)
	one := w.machine()
	v := w.volume(one)
	device := w.attach(one, v)
	before := w.exports()
	w.stop()
	put(t, device, "while it is away", 0)
	w.serve("this boot")
	put(t, device, "after that", 4096)
	if after := w.exports(); len(before) == 0 || !slices.EqualFunc(before, after, func(a, b run.Process) bool { return a.Pid == b.Pid }) {
		t.Errorf("exports %v became %v; want the same process", before, after)
	}
	w.detach(one, v)
}

func TestExportThatDiedIsMadeAgainAndItsClientGoesOn(t *testing.T) {
	w := newWorld(t)
	one := w.machine()
	v := w.volume(one)
	device := w.attach(one, v)
	w.stop()
	w.killExports()
	written := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt([]byte("through"), 0)
			err = errors.Join(err, f.Sync(), f.Close())
		}
		written <- err
	}()
	w.serve("this boot")
	if err := <-written; err != nil {
		t.Errorf("write while the export was away: %v", err)
	}
	if got := string(w.content(v)[:7]); got != "through" {
		t.Errorf("the volume has %q", got)
	}
	w.detach(one, v)
}

// What a host had in memory is lost with it, and a client that just went on would never hear of it.
func TestClientDoesNotFindItsExportAgainAfterTheHostsReboot(t *testing.T) {
	w := newWorld(t)
	one, two := w.machine(), w.machine()
	v := w.volume(one)
	device := w.attach(one, v)
	put(t, device, "flushed", 0)
	w.end()
	w.serve("another boot")
	written := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt([]byte("lost"), 0)
			err = errors.Join(err, f.Sync())
			f.Close()
		}
		written <- err
	}()
	if there := w.holder(one, v); there != nameOf(one) {
		t.Errorf("it is attached to %q; want one, which did not give it back", there)
	}
	if err := <-written; err == nil {
		t.Error("a write went on as if nothing had happened")
	}
	if text := get(t, w.attach(one, v), 0, 7); text != "flushed" {
		t.Errorf("the volume has %q", text)
	}
	w.detach(one, v)
	w.attach(two, v)
	w.detach(two, v)
}

func TestAgentThatStartsAnewFindsItsDevices(t *testing.T) {
	w := newWorld(t)
	id, dir := cluster.NodeID(uuid.NewString()), w.devices()
	before := w.machineOf(id, dir)
	v := w.volume(before)
	device := w.attach(before, v)
	after := w.machineOf(id, dir)
	attached, err := after.Attached(t.Context())
	if err != nil || len(attached) != 1 || attached[v.ID] != device {
		t.Errorf("Attached = %v, %v; want %s at %s", attached, err, v.ID, device)
	}
	w.detach(after, v)
	if attached, err := before.Attached(t.Context()); err != nil || len(attached) != 0 {
		t.Errorf("Attached after Detach = %v, %v", attached, err)
	}
}

func TestVolumeGrowsWhileItIsAttached(t *testing.T) {
	w := newWorld(t)
	one := w.machine()
	v := w.volume(one)
	f, err := os.OpenFile(w.attach(one, v), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := one.Grow(t.Context(), v, 2*size); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := mount.DeviceSize(f); err != nil || got != 2*size {
		t.Errorf("the device has %d bytes, %v; want %d", got, err, int64(2*size))
	}
	if _, err := f.WriteAt([]byte("beyond"), size+4096); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Error(err)
	}
	w.detach(one, v)
	if got := string(w.content(v)[size+4096 : size+4102]); got != "beyond" {
		t.Errorf("the volume has %q", got)
	}
}
