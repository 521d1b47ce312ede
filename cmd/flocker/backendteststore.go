// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest/contract"
	"github.com/flocker-project/flocker/backend/block"
	"github.com/flocker-project/flocker/backend/external"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// smallestOf are the sizes of the smallest volumes that each filesystem fits into.
func smallestOf() map[string]int64 {
	return map[string]int64{"ext4": 64 << 20, "xfs": 320 << 20, "btrfs": 288 << 20}
}

// driverStore is the store of an external driver under test.
type driverStore struct {
	sockets    []string // of one machine or of two
	cluster    string   // made up for each part of the test
	filesystem string
	smallest   int64
	timeout    time.Duration
}

// fresh is the store for a cluster that has nothing in it yet.
func (s driverStore) fresh(contract.T) contract.Store {
	s.cluster = uuid.NewString()
	return &s
}

func (s *driverStore) config(i int) external.Config {
	return external.Config{Socket: s.sockets[i], Cluster: s.cluster, Timeout: s.timeout}
}

func (s *driverStore) Machines() int   { return len(s.sockets) }
func (s *driverStore) Smallest() int64 { return s.smallest }

func (s *driverStore) Machine(t contract.T, i int) backend.Volumes {
	t.Helper()
	store, err := external.Open(t.Context(), s.config(i))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (s *driverStore) OtherCluster(t contract.T) backend.Volumes {
	t.Helper()
	return s.fresh(t).Machine(t, 0)
}

func (s *driverStore) Mounts(t contract.T) string {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() {
		points, err := filepath.Glob(root + "/*")
		if err != nil {
			t.Error(err)
		}
		for _, point := range points {
			if err := mount.RemovePoint(point); err != nil {
				t.Error(err)
			}
		}
	})
	return root
}

func (s *driverStore) Layer(t contract.T, store backend.Volumes, around ...backend.Around) backend.Driver {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("formats and mounts: needs root")
	}
	d, err := block.New(t.Context(), store, block.Config{Filesystem: s.filesystem, Around: around})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Foreign makes a volume of another cluster: the driver's own tools are not known here.
func (s *driverStore) Foreign(t contract.T) func() error {
	t.Helper()
	others := s.OtherCluster(t)
	theirs, err := others.Create(t.Context(), backend.Spec{Dataset: cluster.DatasetID(uuid.NewString()), Size: s.smallest})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		if err := others.Destroy(ctx, theirs); err != nil {
			t.Errorf("clean volume %s: %v", theirs.ID, err)
		}
	})
	return func() error {
		all, err := others.List(t.Context())
		if err == nil && !reflect.DeepEqual(all, []backend.Volume{theirs}) {
			err = fmt.Errorf("volumes of another cluster = %+v; want %+v", all, theirs)
		}
		return err
	}
}

// Vanish destroys a volume as another process does.
func (s *driverStore) Vanish(t contract.T, v backend.Volume) {
	t.Helper()
	if err := s.Machine(t, len(s.sockets)-1).Destroy(t.Context(), v); err != nil {
		t.Fatal(err)
	}
}

// Twin cannot be made with what a driver offers.
func (s *driverStore) Twin(contract.T, backend.Volume) bool { return false }
