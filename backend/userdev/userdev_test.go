// SPDX-License-Identifier: Apache-2.0

package userdev_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/mount"
)

const size = 64 << 20

func TestWhatIsWrittenIsWithTheServerAfterStop(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	began := time.Now()
	device := start(t, devices, volume.spec("v1"))
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := mount.DeviceSize(f); err != nil || got != size {
		t.Errorf("the device has %d bytes, %v; want %d", got, err, int64(size))
	}
	want := bytes.Repeat([]byte("flocker "), 1<<17)
	if _, err := f.WriteAt(want, 5<<20); err != nil { // not flushed: that is Stop's
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if err := devices.Stop(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(began).Round(time.Millisecond))
	content, err := os.ReadFile(volume.file)
	if err != nil || !bytes.Equal(content[5<<20:5<<20+len(want)], want) {
		t.Errorf("the volume does not have what was written (%v)", err)
	}
	if pid := serverOf(t, devices, "v1"); pid != 0 {
		t.Errorf("process %d serves after Stop", pid)
	}
	if _, err := os.Stat(devices.Folder("v1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the device's folder after Stop: %v; want none", err)
	}
	if err := devices.Stop(t.Context(), "v1"); err != nil {
		t.Errorf("second Stop = %v", err)
	}
}

func TestDeviceIsFoundAgainByWhoeverOpensTheFolder(t *testing.T) {
	tools(t)
	volume, dir := newDisk(t, size), short(t)
	device := start(t, openIn(t, dir), volume.spec("v1"))
	again := openIn(t, dir)
	running, err := again.Running()
	if err != nil || len(running) != 1 || running["v1"] != device {
		t.Fatalf("Running = %v, %v; want v1 at %s", running, err, device)
	}
	if same := start(t, again, volume.spec("v1")); same != device {
		t.Errorf("second Start = %s; want %s", same, device)
	}
	if session, err := unix.Getsid(serverOf(t, again, "v1")); err != nil || session == mySession(t) {
		t.Errorf("the server is in session %d (%v), which is this process's", session, err)
	}
	if err := again.Stop(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	if running, err := again.Running(); err != nil || len(running) != 0 {
		t.Errorf("Running after Stop = %v, %v", running, err)
	}
}

func mySession(t *testing.T) int {
	t.Helper()
	session, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func TestDeviceInUseIsNotStopped(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	device := start(t, devices, volume.spec("v1"))
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := devices.Stop(t.Context(), "v1"); !errors.Is(err, mount.ErrBusy) {
		t.Errorf("Stop = %v; want %v", err, mount.ErrBusy)
	}
	if _, err := f.WriteAt([]byte("still here"), 0); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Error(err)
	}
}

func TestDeviceWhoseServerDied(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	f, err := os.OpenFile(start(t, devices, volume.spec("v1")), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := endProcess(serverOf(t, devices, "v1")); err != nil {
		t.Fatal(err)
	}
	if _, err := devices.Start(t.Context(), volume.spec("v1")); !errors.Is(err, userdev.ErrDied) {
		t.Errorf("Start while it is open = %v; want %v", err, userdev.ErrDied)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	device := start(t, devices, volume.spec("v1"))
	if _, err := os.ReadFile(device); err != nil {
		t.Errorf("the device that was made anew: %v", err)
	}
}

func TestServerThatIsAwayForAMomentOnlyHoldsWritesUp(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	f, err := os.OpenFile(start(t, devices, volume.spec("v1")), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	volume.kill()
	written := make(chan error, 1)
	go func() {
		_, err := f.WriteAt([]byte("through"), 4096)
		written <- errors.Join(err, f.Sync())
	}()
	volume.start()
	if err := <-written; err != nil {
		t.Errorf("write while the server was away: %v", err)
	}
	if content, err := os.ReadFile(volume.file); err != nil || string(content[4096:4103]) != "through" {
		t.Errorf("the volume does not have what was flushed (%v)", err)
	}
}

func TestStartRefuses(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	for _, id := range []string{"", "../x", "a/b", ".hidden"} {
		if _, err := devices.Start(t.Context(), volume.spec(id)); err == nil {
			t.Errorf("Start(%q) = nil", id)
		}
	}
	spec := volume.spec("v1")
	volume.kill()
	if device, err := devices.Start(t.Context(), spec); err == nil {
		t.Errorf("Start without a server = %s", device)
	}
	if _, err := os.Stat(devices.Folder("v1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder after a failed Start: %v; want none", err)
	}
}

func TestDeviceGrowsWithItsVolumeWhileItIsOpen(t *testing.T) {
	tools(t)
	volume, devices := newDisk(t, size), openDevices(t)
	f, err := os.OpenFile(start(t, devices, volume.spec("v1")), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := devices.Resize(t.Context(), "v1", 2*size); err == nil {
		t.Error("Resize of a volume that did not grow = nil")
	}
	volume.kill() // an NBD server tells the size when it is connected to
	volume.resize(2 * size)
	volume.start()
	if _, err := f.ReadAt(make([]byte, 4096), 8<<20); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := devices.Resize(t.Context(), "v1", 2*size); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := mount.DeviceSize(f); err != nil || got != 2*size {
		t.Errorf("the device has %d bytes, %v; want %d", got, err, int64(2*size))
	}
	if _, err := f.WriteAt([]byte("beyond"), size+4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(volume.file); err != nil || string(content[size+4096:size+4102]) != "beyond" {
		t.Errorf("the volume does not have what was flushed (%v)", err)
	}
}
