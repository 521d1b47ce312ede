// SPDX-License-Identifier: Apache-2.0

package userdev_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend/userdev"
)

// isReady fails unless the volume is ready, or is not.
func isReady(t *testing.T, devices *userdev.Devices, want bool) {
	t.Helper()
	if ready, err := devices.IsReady("v1", size); err != nil || ready != want {
		t.Errorf("IsReady = %v, %v; want %v", ready, err, want)
	}
}

// ready makes a volume ready and returns its server.
func ready(t *testing.T, devices *userdev.Devices, spec userdev.Spec) int {
	t.Helper()
	for range 2 {
		if err := devices.Ready(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	isReady(t, devices, true)
	return serverOf(t, devices, spec.ID)
}

func TestWhatIsReadyHasNoDeviceUntilItIsAdmitted(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	asked := 0
	spec := volume.spec("v1")
	spec.Admit = func(context.Context) error { asked++; return nil }
	pid := ready(t, devices, spec)
	if running, err := devices.Running(); err != nil || len(running) != 0 || asked != 0 {
		t.Errorf("Running = %v, %v, asked %d times; want no device and nobody asked", running, err, asked)
	}
	if is, err := devices.IsReady("v1", 2*size); err != nil || is {
		t.Errorf("IsReady for another size = %v, %v; want that it is not", is, err)
	}
	start(t, devices, spec)
	if now := serverOf(t, devices, "v1"); now != pid || asked != 1 {
		t.Errorf("process %d serves, asked %d times; want %d, asked once", now, asked, pid)
	}
	isReady(t, devices, false)
	if err := devices.Unready(t.Context(), "v1"); err != nil || serverOf(t, devices, "v1") != pid {
		t.Errorf("Unready = %v; want a device left alone", err)
	}
}

func TestWhatIsReadyAndRefusedEnds(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	spec, refusal := volume.spec("v1"), errors.New("no")
	spec.Admit = func(context.Context) error { return refusal }
	ready(t, devices, spec)
	if device, err := devices.Start(t.Context(), spec); !errors.Is(err, refusal) {
		t.Errorf("Start = %s, %v; want %v", device, err, refusal)
	}
	gone(t, devices)
}

// gone fails where something of the volume is left.
func gone(t *testing.T, devices *userdev.Devices) {
	t.Helper()
	isReady(t, devices, false)
	if pid := serverOf(t, devices, "v1"); pid != 0 {
		t.Errorf("process %d serves; want none", pid)
	}
	if _, err := os.Stat(devices.Folder("v1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the device's folder: %v; want none", err)
	}
}

func TestWhatIsReadyIsTakenBack(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	ready(t, devices, volume.spec("v1"))
	for range 2 {
		if err := devices.Unready(t.Context(), "v1"); err != nil {
			t.Fatal(err)
		}
	}
	gone(t, devices)
}

func TestWhatIsReadyAndNotUsedEndsByItself(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	devices.ReadyFor(time.Second)
	ready(t, devices, volume.spec("v1"))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); serverOf(t, devices, "v1") != 0 && time.Now().Before(deadline); <-tick.C {
	}
	if err := devices.Unready(t.Context(), "v1"); err != nil { // after what ends it
		t.Fatal(err)
	}
	gone(t, devices)
}

func TestReadyServerThatDiedIsReplaced(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	if err := endProcess(ready(t, devices, volume.spec("v1"))); err != nil {
		t.Fatal(err)
	}
	isReady(t, devices, false)
	start(t, devices, volume.spec("v1"))
	if serverOf(t, devices, "v1") == 0 {
		t.Error("nobody serves the device")
	}
}

// A process that died leaves a server without a device, which the next one ends; what the next one has itself stays.
func TestServersWithoutADeviceAreEnded(t *testing.T) {
	tools(t)
	dir, volume, other := short(t), newDisk(t, size), newDisk(t, size)
	dead, next := openIn(t, dir), openIn(t, dir)
	left := ready(t, dead, volume.spec("v1"))
	pid := serverOf(t, next, "v1")
	start(t, next, other.spec("v2"))
	if err := dead.Strays(t.Context()); err != nil || serverOf(t, dead, "v1") != left {
		t.Errorf("Strays = %v; want what is ready here left alone", err)
	}
	if err := next.Strays(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone(t, next)
	if serverOf(t, next, "v2") == 0 {
		t.Errorf("the server of a device was ended with %d", pid)
	}
}
