// SPDX-License-Identifier: Apache-2.0

package all_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/all"
)

func kinds(t *testing.T) map[string]all.Kind {
	t.Helper()
	list, err := all.Kinds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]all.Kind{}
	for _, k := range list {
		kinds[k.Name] = k
	}
	return kinds
}

func TestEveryKindIsDescribed(t *testing.T) {
	named := kinds(t)
	for _, name := range all.Names() {
		k := named[name]
		if can := k.Capabilities; k.About == "" || len(k.Options) == 0 || !can.Attaches && !can.Replicates {
			t.Errorf("back end %s = %+v; want what it is, its options, and that it attaches or replicates: see descriptions in kinds.go", name, k)
		}
		for _, o := range k.Options {
			if o.Name == "" || o.About == "" {
				t.Errorf("option %+v of back end %s; want a yaml tag and a doc tag", o, name)
			}
		}
		if name == "mem" {
			continue // nobody keeps data in it
		}
		if _, err := os.Stat(filepath.Join("../../docs/backends", name+".md")); err != nil {
			t.Errorf("back end %s has no page: %v", name, err)
		}
	}
}

// What is said of a kind without opening it is what an open one says.
func TestKindsCanWhatTheirDriversCan(t *testing.T) {
	named := kinds(t)
	for name, options := range map[string]string{"mem": "total: 1GiB", "loopback": "root_path: " + t.TempDir()} {
		driver, err := open(t, name, options)
		if err != nil {
			t.Fatal(err)
		}
		can, said := backend.CapabilitiesOf(driver), named[name].Capabilities
		if said.NoSnapshots != "" { // whether there are any depends on the filesystem
			if can.Snapshots == (can.NoSnapshots != "") || can.Snapshots != can.Reverts {
				t.Errorf("back end %s can %+v; want snapshots, or why there are none", name, can)
			}
			can.Snapshots, can.Reverts, can.NoSnapshots = said.Snapshots, said.Reverts, said.NoSnapshots
		}
		if can != said {
			t.Errorf("back end %s can %+v; its description says %+v", name, can, said)
		}
	}
}

func TestOptionsHaveTheirDefaults(t *testing.T) {
	for name, want := range map[string]all.Option{
		"mem":      {Name: "total", About: "how much it pretends to have room for", Default: "1TiB"},
		"external": {Name: "timeout", About: "how long a call of the driver may take", Default: "2m0s"},
	} {
		if got := kinds(t)[name].Options; !slices.Contains(got, want) {
			t.Errorf("options of %s = %+v; want %+v among them", name, got, want)
		}
	}
}

func check(t *testing.T, name, options string) map[string]api.Check {
	t.Helper()
	checks := map[string]api.Check{}
	for _, c := range all.Check(t.Context(), name, func(into any) error {
		return yaml.Load([]byte(options), into, yaml.WithKnownFields())
	}) {
		checks[c.Name+" "+c.Object] = c
		if c.OK != (c.Problem == "") || c.OK == (c.Remedy != "") || c.OK != (c.Found != "") {
			t.Errorf("check %+v; want what was found, or what is wrong and the remedy", c)
		}
	}
	return checks
}

func TestWhatIsMissingIsNamedWithItsRemedy(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, c := range []struct{ kind, options, check, remedy string }{
		{"btrfs", "{}", "program mkfs.btrfs", "apt install btrfs-progs"},
		{"loopback", "{}", "program mkfs.ext4", "apt install e2fsprogs"},
		{"loopback", "filesystem: xfs", "program mkfs.xfs", "apt install xfsprogs"},
		{"loopback", "filesystem: fat", "options filesystem", "mend it"},
		{"loopback", "folder: x", "options agent.yml", "mend"},
		{"external", "socket: /nowhere/x", "driver /nowhere/x", "start the driver"},
	} {
		got, found := check(t, c.kind, c.options)[c.check]
		if !found || got.OK || !strings.Contains(got.Remedy, c.remedy) {
			t.Errorf("%s of %s with %s = %+v; want the remedy %q", c.check, c.kind, c.options, got, c.remedy)
		}
	}
	if _, found := check(t, "btrfs", "path: /srv/pool")["program mkfs.btrfs"]; found {
		t.Error("btrfs in an existing filesystem needs no mkfs.btrfs")
	}
}

func TestWhatIsThereIsFound(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, "mkfs.ext4"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	got := check(t, "loopback", "{}")
	if c := got["program mkfs.ext4"]; !c.OK || c.Found != filepath.Join(dir, "mkfs.ext4") {
		t.Errorf("check = %+v; want it found in %s", c, dir)
	}
	if c := got["kernel Linux 5.8"]; !c.OK {
		t.Errorf("check = %+v; want the kernel of this machine to do", c)
	}
}

func TestAStoreThatDoesNotAnswerSaysWhy(t *testing.T) {
	if c := all.Reached("shared", "loopback", ""); !c.OK || c.Problem != "" {
		t.Errorf("Reached = %+v; want that the store answers", c)
	}
	c := all.Reached("shared", "loopback", "stale file handle")
	if c.OK || c.Object != "shared" || c.Problem != "stale file handle" || !strings.Contains(c.Remedy, "docs/backends/loopback.md") {
		t.Errorf("check = %+v; want the reason and its page", c)
	}
}
