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

// What a target needs room for has the snapshots in it that are sent along because somebody asked to keep them, and no others.
func TestKeptSnapshotsHaveWeight(t *testing.T) {
	taken := cluster.Snapshot{Name: "s1", ID: "1", Used: 30}
	d := cluster.Dataset{ID: "d", Snapshots: []cluster.KeptSnapshot{{ID: "k", Taken: &taken}, {ID: "asked"}}}
	c := cluster.Copy{Dataset: "d", Used: 100, Snapshots: []cluster.Snapshot{taken, {Name: "s2", ID: "2", Used: 7}}}
	if got := weight(d, c); got != 130 {
		t.Errorf("weight = %d; want what the head and the kept snapshot refer to, 130", got)
	}
}

// What is written on the target is kept as on the source, or the move is refused; what has lost its meaning on the source stands in
// nobody's way.
func TestTheTargetHasTheProfile(t *testing.T) {
	of := func(names ...string) cluster.Storage {
		s := cluster.Storage{Backend: "zfs", Capabilities: cluster.Capabilities{Replicates: true}}
		for _, name := range names {
			s.Profiles = append(s.Profiles, cluster.Profile{Name: name})
		}
		return s
	}
	volumes := cluster.Storage{Backend: "ebs", Capabilities: cluster.Capabilities{Attaches: true}}
	broken := of()
	broken.Error = "pool is gone"
	for name, c := range map[string]struct {
		profile        string
		source, target cluster.Storage
		checked        bool
		problem        string // part of it
	}{
		"no profile":                    {source: of("gold"), target: of()},
		"both have it":                  {"gold", of("gold"), of("bronze", "gold"), true, ""},
		"the target has others":         {"gold", of("gold"), of("bronze"), true, `back end zfs of beta has no profile "gold": there are bronze`},
		"the target has none":           {"gold", of("gold"), of(), true, "this back end has no profiles"},
		"nobody has it":                 {profile: "gold", source: of("bronze"), target: of()},
		"a volume":                      {profile: "gold", source: cluster.Storage{Profiles: of("gold").Profiles}, target: volumes},
		"what is refused for the store": {profile: "gold", source: of("gold"), target: broken},
	} {
		c2 := checks{node: "beta"}
		c2.profile(cluster.Dataset{ID: "x", Profile: c.profile}, c.target, c.source)
		switch {
		case !c.checked && len(c2.all) > 0:
			t.Errorf("%s: %+v; want no check", name, c2.all)
		case c.checked && (len(c2.all) != 1 || c2.all[0].OK != (c.problem == "") || !strings.Contains(c2.all[0].Problem, c.problem)):
			t.Errorf("%s: %+v; want …%s…", name, c2.all, c.problem)
		}
	}
}
