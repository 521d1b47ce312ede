// SPDX-License-Identifier: Apache-2.0

package loopback_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/loopback"
	"github.com/flocker-project/flocker/internal/run/runtest"
	"github.com/flocker-project/flocker/mount"
)

// folder is a folder that two machines share.
type folder struct {
	root       string
	filesystem string
	smallest   int64
}

func newFolder(t testing.TB, filesystem string, smallest int64) *folder {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	runtest.Programs(t, "mkfs."+filesystem)
	// Not t.TempDir: /tmp may be in memory, which knows no direct I/O.
	root, err := os.MkdirTemp("/var/tmp", "flocker-loopback-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := loopsOf(t, root); len(left) > 0 {
			t.Errorf("loop devices are left: %v", left)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return &folder{root, filesystem, smallest}
}

// loopsOf are the loop devices of the files of a folder.
func loopsOf(t testing.TB, root string) (left []mount.Loop) {
	t.Helper()
	loops, err := mount.Loops()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		if strings.HasPrefix(l.File, root+"/") {
			left = append(left, l)
		}
	}
	return left
}

const clusterID = "5d6b1e2a-9b7c-4d3e-8f10-2a3b4c5d6e7f"

func (f *folder) open(t testing.TB, machine string) *loopback.Store {
	t.Helper()
	s, err := loopback.Open(loopback.Config{Root: f.root, Machine: machine, Cluster: clusterID})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *folder) Machine(t *testing.T, i int) backend.Volumes {
	t.Helper()
	return f.open(t, fmt.Sprintf("machine-%d", i))
}

func (f *folder) OtherCluster(t *testing.T) backend.Volumes {
	t.Helper()
	_, err := loopback.Open(loopback.Config{Root: f.root, Machine: "machine-0", Cluster: "another"})
	if err == nil || !strings.Contains(err.Error(), clusterID) {
		t.Errorf("Open for another cluster = %v; want a refusal that names the folder's", err)
	}
	return nil
}

// Foreign puts files into the folders that a volume could be taken for.
func (f *folder) Foreign(t *testing.T) func() error {
	t.Helper()
	id := "/block-0b1c2d3e-0000-4000-8000-000000000001_67108864"
	files := []string{
		"/unattached/notes", "/unattached/block-notes_12", "/attached/machine-0/" + "old" + id[1:], "/unattached" + id + ".bak",
		"/attached" + id, "/unattached/.new-half",
	}
	for _, name := range files {
		if err := os.WriteFile(f.root+name, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(f.root+"/unattached"+id, 0o700); err != nil {
		t.Fatal(err)
	}
	return func() error {
		for _, name := range files {
			if text, err := os.ReadFile(f.root + name); err != nil || string(text) != "mine" {
				return fmt.Errorf("%s = %q, %w; want it as it was", name, text, err)
			}
		}
		return nil
	}
}

func (f *folder) Vanish(t *testing.T, v backend.Volume) {
	t.Helper()
	if err := os.Remove(filepath.Join(f.root, "unattached", v.ID)); err != nil {
		t.Fatal(err)
	}
}

func (f *folder) Twin(t *testing.T, v backend.Volume) bool {
	t.Helper()
	path := filepath.Join(f.root, "unattached", fmt.Sprintf("block-%s_%d", v.Dataset, v.Size+1<<20))
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, v.Size+1<<20)); err != nil {
		t.Fatal(err)
	}
	return true
}

func (f *folder) Mounts(t *testing.T) string {
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

func (f *folder) Smallest() int64 { return f.smallest }

func (f *folder) Layer(t *testing.T, store backend.Volumes, around ...backend.Around) backend.Driver {
	t.Helper()
	d, err := block.New(t.Context(), store, block.Config{Filesystem: f.filesystem, Around: around, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pool is a node's storage over the folder.
func (f *folder) pool(t testing.TB, machine string) *backend.Pool {
	t.Helper()
	d, err := block.New(t.Context(), f.open(t, machine), block.Config{Filesystem: f.filesystem})
	if err != nil {
		t.Fatal(err)
	}
	p := backend.NewPool(d, backend.Options{Name: "loopback", MountRoot: filepath.Join(f.root, "mounts")})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestContract(t *testing.T) {
	if testing.Short() {
		t.Skip("makes loop devices")
	}
	for filesystem, smallest := range map[string]int64{"ext4": 64 << 20, "xfs": 320 << 20, "btrfs": 288 << 20} {
		t.Run(filesystem, func(t *testing.T) {
			backendtest.RunVolumes(t, func(t *testing.T) backendtest.Store { return newFolder(t, filesystem, smallest) })
		})
	}
}
