// SPDX-License-Identifier: Apache-2.0

package loopback_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/loopback"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

func needsLoops(t *testing.T) *folder {
	t.Helper()
	if testing.Short() {
		t.Skip("makes loop devices")
	}
	return newFolder(t, "ext4", 64<<20)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// attached is a fresh volume with its device.
func attached(t *testing.T, s *loopback.Store) (v backend.Volume, device string) {
	t.Helper()
	v, err := s.Create(t.Context(), backend.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: 64 << 20})
	must(t, err)
	device, err = s.Attach(t.Context(), v)
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(s.Detach(t.Context(), v), s.Destroy(t.Context(), v)); err != nil {
			t.Error(err)
		}
	})
	return v, device
}

// The original's tools and people's habits know where a volume is and what it is called.
func TestTheLayoutIsTheOriginals(t *testing.T) {
	f := needsLoops(t)
	s := f.open(t, "machine-0")
	v, _ := attached(t, s)
	name := "block-" + string(v.Dataset) + "_67108864"
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(f.root, "attached", "machine-0", name), &st))
	if st.Size != 64<<20 || st.Blocks != 0 {
		t.Errorf("%d bytes in %d blocks; want a sparse file of 64 MiB", st.Size, st.Blocks)
	}
	must(t, s.Detach(t.Context(), v))
	must(t, unix.Stat(filepath.Join(f.root, "unattached", name), &st))
}

// After a restart of the machine the file is where an attached one is, and there is no device.
func TestAfterAReboot(t *testing.T) {
	f := needsLoops(t)
	v, device := attached(t, f.open(t, "machine-0"))
	must(t, mount.RemoveLoop(t.Context(), loopsOf(t, f.root)[0]))
	s, other := f.open(t, "machine-0"), f.open(t, "machine-1")
	if now, err := s.Attached(t.Context()); err != nil || len(now) != 0 {
		t.Errorf("Attached = %v, %v; want nothing", now, err)
	}
	if _, err := other.Attach(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Attach on another machine = %v; want %v", err, backend.ErrBusy)
	}
	if err := s.Destroy(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Destroy = %v; want %v", err, backend.ErrBusy)
	}
	_, err := s.Attach(t.Context(), v)
	must(t, err)
	now, err := s.Attached(t.Context())
	if err != nil || now[v.ID] == "" {
		t.Errorf("Attached = %v, %v; want a device again, as %s was", now, err, device)
	}
}

// Detach after a reboot gives back what no device is of.
func TestDetachAfterAReboot(t *testing.T) {
	f := needsLoops(t)
	v, _ := attached(t, f.open(t, "machine-0"))
	must(t, mount.RemoveLoop(t.Context(), loopsOf(t, f.root)[0]))
	must(t, f.open(t, "machine-0").Detach(t.Context(), v))
	other := f.open(t, "machine-1")
	_, err := other.Attach(t.Context(), v)
	must(t, err)
	must(t, other.Detach(t.Context(), v))
}

func TestAFolderThatIsMountedElsewhere(t *testing.T) {
	f := needsLoops(t)
	v, device := attached(t, f.open(t, "machine-0"))
	elsewhere := t.TempDir()
	must(t, mount.Bind(f.root, elsewhere))
	t.Cleanup(func() {
		if err := mount.Unmount(elsewhere); err != nil {
			t.Error(err)
		}
	})
	s, err := loopback.Open(loopback.Config{Root: elsewhere, Machine: "machine-0", Cluster: clusterID})
	must(t, err)
	if now, err := s.Attached(t.Context()); err != nil || now[v.ID] != device {
		t.Errorf("Attached = %v, %v; want %s", now, err, device)
	}
	if again, err := s.Attach(t.Context(), v); err != nil || again != device {
		t.Errorf("Attach = %s, %v; want %s", again, err, device)
	}
	must(t, s.Detach(t.Context(), v))
	if left := loopsOf(t, f.root); len(left) > 0 {
		t.Errorf("loop devices after Detach: %v", left)
	}
}

// A descriptor of the device that makes no claim keeps it too, and the device does not go away behind its back later.
func TestDetachWhileTheDeviceIsOpenIsRefused(t *testing.T) {
	f := needsLoops(t)
	s := f.open(t, "machine-0")
	v, device := attached(t, s)
	for range 2 {
		user, err := os.OpenFile(device, os.O_RDWR, 0)
		must(t, err)
		if err := s.Detach(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
			t.Errorf("Detach = %v; want %v", err, backend.ErrBusy)
		}
		must(t, user.Close())
		if now, err := s.Attached(t.Context()); err != nil || now[v.ID] != device {
			t.Errorf("Attached = %v, %v; want %s as before", now, err, device)
		}
	}
	must(t, s.Detach(t.Context(), v))
}

// Two folders may have a volume of one name, for instance where one is a copy of the other.
func TestAnotherFoldersDeviceIsNotTaken(t *testing.T) {
	ours, theirs := needsLoops(t), needsLoops(t)
	v, device := attached(t, theirs.open(t, "machine-0"))
	s := ours.open(t, "machine-0")
	same, err := s.Create(t.Context(), backend.Spec{Dataset: v.Dataset, Size: v.Size})
	must(t, err)
	if got, err := s.Attach(t.Context(), same); err == nil || !strings.Contains(err.Error(), "inode") {
		t.Errorf("Attach = %s, %v; want a word about the other file of %s", got, err, device)
	}
}

// Whoever was evicted while it lives has to know that it can still write, to be able to stop.
func TestAMachineThatWasEvictedAliveKnowsItsDevice(t *testing.T) {
	f := needsLoops(t)
	s, other := f.open(t, "machine-0"), f.open(t, "machine-1")
	v, device := attached(t, s)
	knows := func(when string) {
		t.Helper()
		if now, err := f.open(t, "machine-0").Attached(t.Context()); err != nil || now[v.ID] != device {
			t.Errorf("Attached %s = %v, %v; want %s still", when, now, err, device)
		}
	}
	must(t, other.Evict(t.Context(), v, "machine-0"))
	knows("after it was evicted")
	if now, err := other.Attached(t.Context()); err != nil || len(now) > 0 {
		t.Errorf("Attached on the other = %v, %v; want nothing", now, err)
	}
	// As the other's kernel does it, which is this one here.
	must(t, os.Rename(filepath.Join(f.root, "unattached", v.ID), filepath.Join(f.root, "attached", "machine-1", v.ID)))
	knows("after the other took the volume")
	must(t, s.Detach(t.Context(), v))
	if left := loopsOf(t, f.root); len(left) > 0 {
		t.Errorf("loop devices after Detach = %v; want none", left)
	}
	if _, err := s.Attach(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Attach = %v; want %v", err, backend.ErrBusy)
	}
	must(t, other.Detach(t.Context(), v))
}

func TestNamesOfMachines(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "-", "a b", strings.Repeat("a", 200)} {
		if _, err := loopback.Open(loopback.Config{Root: t.TempDir(), Machine: name}); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("Open for machine %q = %v; want %v", name, err, cluster.ErrInvalid)
		}
	}
}

func TestOfEightWhoCreateAtOnceOneVolumeRemains(t *testing.T) {
	root, id := t.TempDir(), cluster.DatasetID(uuid.NewString())
	errs := make(chan error)
	for i := range 8 {
		go func() {
			s, err := loopback.Open(loopback.Config{Root: root, Machine: string(rune('a' + i)), Cluster: clusterID})
			if err == nil {
				_, err = s.Create(t.Context(), backend.Spec{Dataset: id, Size: 1 << 20})
			}
			errs <- err
		}()
	}
	for range 8 {
		must(t, <-errs)
	}
	entries, err := os.ReadDir(filepath.Join(root, "unattached"))
	if err != nil || len(entries) != 1 {
		t.Errorf("files = %v, %v; want one", entries, err)
	}
}

func BenchmarkMoveOfAVolume(b *testing.B) {
	f := newFolder(b, "ext4", 1<<30)
	id := cluster.DatasetID(uuid.NewString())
	pool := f.pool(b, "machine-0")
	ctx := b.Context()
	must(b, pool.Create(ctx, backend.Spec{Dataset: id, Size: 1 << 30, Epoch: 1}))
	epoch := cluster.Epoch(1)
	for b.Loop() {
		epoch++
		must(b, pool.Attach(ctx, id))
		must(b, pool.SetEpoch(ctx, id, epoch, ""))
		path, err := pool.Mount(ctx, id)
		must(b, err)
		must(b, os.WriteFile(filepath.Join(path, backend.DataDir, "file"), make([]byte, 64<<10), 0o600))
		must(b, pool.Unmount(ctx, id))
		must(b, pool.Released(ctx, id, ""))
		must(b, pool.Detach(ctx, id))
	}
	for _, s := range pool.Stats() {
		b.ReportMetric(float64(s.Total.Microseconds())/float64(s.Calls), s.Op+"-µs")
	}
	must(b, pool.Destroy(ctx, id))
}
