// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"strings"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

// What is moved fits a back end of the same driver, whatever its name, and no other.
func TestStorageOfTheTargetIsOfTheSameDriver(t *testing.T) {
	of := func(name, kind string) cluster.Storage {
		return cluster.Storage{Backend: name, Kind: kind, Capabilities: cluster.Capabilities{Replicates: true}}
	}
	cases := map[string]struct {
		source, target cluster.Storage
		problem        string // part of it
	}{
		"the same":                         {source: of("btrfs", ""), target: of("btrfs", "")},
		"one of them named otherwise":      {source: of("btrfs", ""), target: of("fast", "btrfs")},
		"another":                          {of("btrfs", ""), of("zfs", ""), "of kind zfs, the source's of kind btrfs"},
		"a namesake":                       {of("fast", "btrfs"), of("fast", "zfs"), "of kind zfs, the source's of kind btrfs"},
		"the source's is not known":        {source: cluster.Storage{}, target: of("btrfs", "")},
		"the target's is out of order":     {of("btrfs", ""), cluster.Storage{Backend: "btrfs", Error: "pool is gone"}, "pool is gone"},
		"neither copies nor volumes there": {of("plain", ""), cluster.Storage{Backend: "plain"}, "neither receive copies nor attach volumes"},
	}
	for name, tc := range cases {
		c := checks{node: "beta"}
		c.storage(tc.target, tc.source)
		if got := c.all[0]; got.OK != (tc.problem == "") || !strings.Contains(got.Problem, tc.problem) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
