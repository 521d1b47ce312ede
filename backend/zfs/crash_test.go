// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"bytes"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/flocker-project/flocker/backend"
)

// crash kills the daemon and brings the pool back, as a machine's crash would.
func (h *harness) crash(t *testing.T) {
	t.Helper()
	if daemon.cmd == nil {
		t.Skip("the machine's own ZFS is not killed")
	}
	if err := stopDaemon(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.driver.Close(); err != nil {
		t.Fatal(err)
	}
	if err := startDaemon(); err != nil {
		t.Fatal(err)
	}
	command(t, "zpool", "import", "-f", "-d", h.dir, "-o", "cachefile=none", h.pool)
}

// TestWhatWasFsyncedIsInASnapshotAfterACrash: it is in the log only, and a snapshot taken before the log is replayed lacks it.
func TestWhatWasFsyncedIsInASnapshotAfterACrash(t *testing.T) {
	h := newPool(t, 256<<20)
	mustAll(t,
		h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		h.driver.Mount(t.Context(), dataset, h.Path(dataset)),
		h.Write(dataset, "first", []byte("1")))
	before, err := h.driver.Snapshot(t.Context(), dataset, backend.Lineage{Epoch: 1, Serial: 1})
	mustAll(t, err, h.Write(dataset, "acknowledged", []byte("these words")))
	h.crash(t)
	h.driver = open(t, h.config)
	copies, err := h.driver.List(t.Context())
	mustAll(t, err)
	if len(copies) != 1 || copies[0].Mounted != "" || !copies[0].Divergent {
		t.Errorf("List = %+v; want a head that is not mounted and has more than its snapshot", copies)
	}
	after, err := h.driver.Snapshot(t.Context(), dataset, backend.Lineage{Epoch: 1, Serial: 2})
	mustAll(t, err)
	var stream bytes.Buffer
	mustAll(t, h.driver.Send(t.Context(), dataset, after.Name, before.Name, &stream))
	if !bytes.Contains(stream.Bytes(), []byte("these words")) {
		t.Error("the snapshot lacks what was fsynced before the crash")
	}
}

func TestAnEpochOutlivesACrashRightAfterIt(t *testing.T) {
	h := newPool(t, 256<<20)
	mustAll(t,
		h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		h.driver.SetEpoch(t.Context(), dataset, 7, "a move"))
	h.crash(t)
	h.driver = open(t, h.config)
	copies, err := h.driver.List(t.Context())
	mustAll(t, err)
	if len(copies) != 1 || copies[0].Epoch != 7 || copies[0].Scratch != "a move" {
		t.Errorf("List = %+v; want epoch 7, scratch for a move", copies)
	}
}

// TestMountAgainAfterTheDaemonDied: what is in the mount table then answers nobody.
func TestMountAgainAfterTheDaemonDied(t *testing.T) {
	h := newPool(t, 256<<20)
	mustAll(t,
		h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}),
		h.driver.Mount(t.Context(), dataset, h.Path(dataset)),
		h.Write(dataset, "first", []byte("1")))
	h.crash(t)
	h.driver = open(t, h.config)
	mustAll(t, h.driver.Mount(t.Context(), dataset, h.Path(dataset)))
	files, err := h.Files(dataset)
	if err != nil || string(files["first"]) != "1" {
		t.Errorf("files in %s = %q, %v; want the first", filepath.Base(h.data(dataset)), files, err)
	}
	mustAll(t, h.driver.Unmount(t.Context(), dataset))
}

func mustAll(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
