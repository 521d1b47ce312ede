// SPDX-License-Identifier: Apache-2.0

package nbd_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/blockstore"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// pair is a block store and two machines.
type pair struct {
	*world
	ids  [2]cluster.NodeID
	dirs [2]string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	return newPairOn(t, "")
}

func newPairOn(t *testing.T, filesystem string) *pair {
	t.Helper()
	p := &pair{world: newWorldOn(t, filesystem)}
	for i := range p.ids {
		p.ids[i], p.dirs[i] = cluster.NodeID(uuid.NewString()), p.devices()
	}
	return p
}

func (p *pair) Machine(t *testing.T, i int) backend.Volumes {
	t.Helper()
	return p.machineOf(p.ids[i], p.dirs[i])
}

func (p *pair) OtherCluster(t *testing.T) backend.Volumes {
	t.Helper()
	p.stop()
	defer p.serve("this boot")
	_, err := blockstore.Open(t.Context(), blockstore.Config{Dir: filepath.Join(p.dir, "store"), Cluster: "another", Log: slog.New(slog.DiscardHandler)})
	if volumes, failed := filepath.Glob(filepath.Join(p.dir, "store", "vol-*")); failed != nil || len(volumes) > 0 && err == nil {
		t.Errorf("Open for another cluster = %v, %v; want a refusal", err, failed)
	}
	return nil
}

// Foreign puts what is no volume into the store's folder.
func (p *pair) Foreign(t *testing.T) func() error {
	t.Helper()
	notes := filepath.Join(p.dir, "store", "notes")
	folder := filepath.Join(p.dir, "store", "backup-of-vol-1")
	if err := errors.Join(os.WriteFile(notes, []byte("mine"), 0o600), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	return func() error {
		if _, err := os.Stat(folder); err != nil {
			return err
		}
		if text, err := os.ReadFile(notes); err != nil || string(text) != "mine" {
			return fmt.Errorf("%s = %q, %w; want it as it was", notes, text, err)
		}
		return nil
	}
}

func (p *pair) Vanish(t *testing.T, v backend.Volume) {
	t.Helper()
	if err := p.store.Destroy(v.ID); err != nil {
		t.Fatal(err)
	}
}

func (p *pair) Twin(*testing.T, backend.Volume) bool { return false }

func (p *pair) Mounts(t *testing.T) string {
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

func (p *pair) Smallest() int64 { return 64 << 20 }

func (p *pair) Layer(t *testing.T, store backend.Volumes, around ...backend.Around) backend.Driver {
	t.Helper()
	d, err := block.New(t.Context(), store, block.Config{Filesystem: "ext4", Around: around, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	backendtest.RunVolumes(t, func(t *testing.T) backendtest.Store { return newPair(t) })
}

// A storage host whose filesystem shares blocks has snapshots.
func TestContractWithSnapshots(t *testing.T) {
	backendtest.RunVolumes(t, func(t *testing.T) backendtest.Store { return newPairOn(t, "xfs") })
}
