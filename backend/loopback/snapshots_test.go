// SPDX-License-Identifier: Apache-2.0

package loopback_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
)

// onFilesystem is a folder on a filesystem of its own.
func onFilesystem(t *testing.T, on, filesystem string, smallest int64) *folder {
	t.Helper()
	f := newFolder(t, filesystem, smallest)
	backendtest.OnFilesystem(t, f.root, on)
	return f
}

// Every filesystem of volumes, and both filesystems of folders that share blocks.
func TestContractWithSnapshots(t *testing.T) {
	if testing.Short() {
		t.Skip("makes loop devices")
	}
	for _, with := range []struct {
		folder, filesystem string
		smallest           int64
	}{{"xfs", "ext4", 64 << 20}, {"btrfs", "xfs", 320 << 20}, {"xfs", "btrfs", 288 << 20}} {
		t.Run(with.filesystem+" on "+with.folder, func(t *testing.T) {
			backendtest.RunVolumes(t, func(t *testing.T) backendtest.Store {
				return onFilesystem(t, with.folder, with.filesystem, with.smallest)
			})
		})
	}
}

func TestFolderWithoutSharedBlocksSaysWhyItHasNoSnapshots(t *testing.T) {
	f := onFilesystem(t, "ext4", "ext4", 64<<20)
	s := f.open(t, "machine-0")
	if err := s.CanSnapshot(); !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), f.root) {
		t.Errorf("CanSnapshot = %v; want %v with the folder", err, backend.ErrUnsupported)
	}
}

func TestVolumeWithAStrangersSnapshotStays(t *testing.T) {
	f := onFilesystem(t, "xfs", "ext4", 64<<20)
	s := f.open(t, "machine-0")
	v, err := s.Create(t.Context(), backend.Spec{Dataset: "0b1c2d3e-0000-4000-8000-000000000001", Size: f.smallest})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TakeSnapshot(t.Context(), v, "e0000000001-s0000000001"); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(f.root, "snapshots", v.ID, "mine")
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Destroy(t.Context(), v); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Destroy = %v; want %v", err, backend.ErrBusy)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 1 || len(list[0].Snapshots) != 1 {
		t.Errorf("List = %+v, %v; want the volume with its snapshot", list, err)
	}
	if err := errors.Join(os.Remove(theirs), s.Destroy(t.Context(), v)); err != nil {
		t.Error(err)
	}
}
