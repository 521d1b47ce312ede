// SPDX-License-Identifier: Apache-2.0

package userdev_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend/userdev"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/internal/run/runtest"
)

func tools(t *testing.T) {
	t.Helper()
	runtest.Need(t, "nbdkit", "qemu-storage-daemon")
}

// disk is a volume that a real NBD server serves.
type disk struct {
	t      *testing.T
	file   string
	socket string
	server *run.Cmd
}

func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	dir := short(t)
	d := &disk{t: t, file: filepath.Join(dir, "volume"), socket: filepath.Join(dir, "nbd")}
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.resize(size)
	d.start()
	t.Cleanup(d.kill)
	return d
}

// short is a folder with a path that leaves room for a socket's name.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ud") //nolint:usetesting // the test's name would be in the path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (d *disk) resize(size int64) {
	d.t.Helper()
	if err := os.Truncate(d.file, size); err != nil {
		d.t.Fatal(err)
	}
}

// start returns when the server listens.
func (d *disk) start() {
	d.t.Helper()
	d.server = run.Command(context.WithoutCancel(d.t.Context()), "nbdkit", "-f", "-U", d.socket, "file", "file="+d.file)
	if err := d.server.Start(); err != nil {
		d.t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if conn, err := (&net.Dialer{}).DialContext(d.t.Context(), "unix", d.socket); err == nil {
			conn.Close()
			return
		}
	}
	d.t.Fatal("nbdkit does not listen")
}

func (d *disk) kill() {
	if d.server == nil {
		return
	}
	if err := endProcess(d.server.Pid()); err != nil {
		d.t.Error(err)
	}
	if err := d.server.Wait(); err == nil {
		d.t.Error("nbdkit ended by itself")
	}
	if err := os.RemoveAll(d.socket); err != nil {
		d.t.Error(err)
	}
	d.server = nil
}

// endProcess kills a process and waits until it is gone.
func endProcess(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return err
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(10*time.Second/time.Millisecond))
	return err
}

func (d *disk) spec(id string) userdev.Spec {
	return userdev.Spec{ID: id, Blockdev: map[string]any{
		"driver": "nbd", "server": map[string]any{"type": "unix", "path": d.socket}, "reconnect-delay": 20,
	}}
}

func openDevices(t *testing.T) *userdev.Devices {
	t.Helper()
	return openIn(t, short(t))
}

func openIn(t *testing.T, dir string) *userdev.Devices {
	t.Helper()
	devices, err := userdev.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopAll(t, devices) })
	return devices
}

func stopAll(t *testing.T, devices *userdev.Devices) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	running, err := devices.Running()
	for id := range running {
		if stop := devices.Stop(ctx, id); !errors.Is(stop, userdev.ErrUnflushed) {
			err = errors.Join(err, stop)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func start(t *testing.T, devices *userdev.Devices, spec userdev.Spec) (device string) {
	t.Helper()
	device, err := devices.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return device
}

// serverOf is the process that serves a device.
func serverOf(t *testing.T, devices *userdev.Devices, id string) int {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range entries {
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), "qemu-storage-daemon\x00") || !strings.Contains(string(text), fmt.Sprintf("%q", devices.Folder(id)+"/disk")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	return 0
}
