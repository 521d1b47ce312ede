// SPDX-License-Identifier: Apache-2.0

package all_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

func TestProfilesAreReadFromTheOptions(t *testing.T) {
	driver, err := open(t, "loopback", "root_path: "+t.TempDir()+"\nprofiles:\n  gold: {filesystem: xfs}\n  bronze:\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []cluster.Profile{{Name: "bronze"}, {Name: "gold", Options: map[string]string{"filesystem": "xfs"}}}
	if diff := cmp.Diff(want, driver.(backend.Profiler).Profiles()); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	for _, c := range []struct{ kind, profiles, want string }{
		{"loopback", "{gold: {filesystem: fat}}", `profiles.gold.filesystem: "fat" is none of ext4, xfs, btrfs`},
		{"loopback", "{gold: {compression: lz4}}", "profiles.gold.compression: unknown option: there are filesystem"},
		{"mem", "{gold: {filesystem: xfs}}", "profiles.gold.filesystem: unknown option: a profile has none here"},
		{"zfs", "{gold: {copies: 4}}", `profiles.gold.copies: "4" is none of 1, 2, 3`},
		{"zfs", "{gold: {sync: disabled}}", `profiles.gold.sync: "disabled" is none of standard, always`},
		{"btrfs", "{gold: {compression: lz4}}", `profiles.gold.compression: "lz4" is none of zstd, lzo, zlib, none`},
		{"rbd", "{gold: {object_size: 3M}}", `profiles.gold.object_size: "3M" is no power of two`},
		{"external", "{gold: {iops: 3}}", "profiles.gold.iops: unknown option: there are filesystem"},
		{"nbd", "[gold]", "line "},
	} {
		if _, err := open(t, c.kind, "profiles: "+c.profiles); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(%s, profiles: %s) = %v; want …%s…", c.kind, c.profiles, err, c.want)
		}
	}
}

func TestKindsSayWhatAProfileMayChoose(t *testing.T) {
	for kind, want := range map[string]string{
		"btrfs": "compression", "zfs": "recordsize", "loopback": "filesystem", "nbd": "filesystem", "external": "filesystem", "rbd": "data_pool", "mem": "",
	} {
		var names []string
		for _, o := range kinds(t)[kind].ProfileOptions {
			names = append(names, o.Name)
		}
		if want == "" && len(names) > 0 || want != "" && !slices.Contains(names, want) {
			t.Errorf("a profile of %s may choose %v; want %q among them", kind, names, want)
		}
	}
}

// What a profile is formatted with is looked for as what all others are.
func TestProgramsOfProfilesAreLookedFor(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	checks := check(t, "loopback", "profiles: {gold: {filesystem: xfs}, silver: {filesystem: ext4}, bronze: {}}")
	for _, name := range []string{"program mkfs.xfs", "program mkfs.ext4"} {
		if c, there := checks[name]; !there || c.OK {
			t.Errorf("%s = %+v; want it looked for", name, c)
		}
	}
	for _, name := range []string{"profile gold", "profile silver", "profile bronze"} {
		if c := checks[name]; !c.OK {
			t.Errorf("%s = %+v; want nothing wrong with it", name, c)
		}
	}
	if c := check(t, "zfs", "profiles: {gold: {recordsize: 3K}}")["profile gold"]; c.OK || !strings.Contains(c.Problem, "profiles.gold.recordsize") {
		t.Errorf("check of a wrong profile = %+v; want its field", c)
	}
}
