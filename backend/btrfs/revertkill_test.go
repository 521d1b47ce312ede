// SPDX-License-Identifier: Apache-2.0

package btrfs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend"
)

// TestKilledWhileReverting kills a process that reverts a head to and fro: there is always a head, wholly the one or the other, and
// nothing else.
func TestKilledWhileReverting(t *testing.T) {
	h := newPool(t, 256<<20)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.driver.Create(ctx, backend.Spec{Dataset: dataset, Epoch: 4, Size: 64 << 20}))
	must(h.driver.Mount(ctx, dataset, h.Path(dataset)))
	v, whole := victim{Config: h.config}, map[string]string{}
	for serial := range 2 {
		for file := range 3 {
			must(h.Write(dataset, fmt.Sprint(file), fmt.Appendf(nil, "of snapshot %d", serial)))
		}
		s, err := h.driver.Snapshot(ctx, dataset, backend.Lineage{Epoch: 4, Serial: uint64(serial)})
		files, filesErr := h.Files(dataset)
		must(errors.Join(err, filesErr))
		v.Reverts = append(v.Reverts, s.Name)
		whole[fmt.Sprint(files)] = s.Name
	}
	must(errors.Join(h.driver.Unmount(ctx, dataset), h.driver.Close()))
	told, err := json.Marshal(v)
	must(err)
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	seen := map[string]int{}
	for round := range rounds {
		killOne(t, string(told), time.Duration(round*61%400)*time.Millisecond)
		h.driver = open(t, h.config)
		copies, err := h.driver.List(ctx)
		if err != nil || len(copies) != 1 || !copies[0].Head || copies[0].Epoch != 4 || copies[0].Size != 64<<20 || len(copies[0].Snapshots) != 2 {
			t.Fatalf("List = %+v, %v; want a head of epoch 4 and both snapshots", copies, err)
		}
		must(h.driver.Mount(ctx, dataset, h.Path(dataset)))
		files, err := h.Files(dataset)
		must(errors.Join(err, h.driver.Unmount(ctx, dataset)))
		name, is := whole[fmt.Sprint(files)]
		if !is {
			t.Fatalf("the head is neither of the two: %q", files)
		}
		seen[name]++
		if _, err := os.Lstat(h.inPool("datasets", string(dataset), "new")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a half made head is left: %v", err)
		}
		must(h.driver.Close())
	}
	h.driver = open(t, h.config)
	t.Logf("found after %d kills: %v", rounds, seen)
}
