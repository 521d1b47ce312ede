// SPDX-License-Identifier: Apache-2.0

package layout_test

import (
	"slices"
	"strings"
	"testing"
)

// mayImport is the whole table of who may import whom within the module, apart from tests. A name stands for
// the package and all below it; "driver" and "runtime" stand for each of theirs. What is not here may import nothing.
var mayImport = map[string][]string{
	"cluster":   {},
	"plan":      {"cluster"},
	"manifest":  {"cluster"},
	"converge":  {"cluster"},
	"pki":       {"cluster"},
	"api":       {"cluster", "plan", "pki"},
	"control":   {"control", "api", "plan", "pki", "cluster", "converge", "manifest"},
	"agent":     {"agent", "converge", "plan", "backend", "container", "mount", "migrate", "transfer", "network", "api", "pki", "cluster", "internal/run", "internal/filecopy"},
	"migrate":   {"migrate", "plan", "backend", "container", "transfer", "network", "api", "cluster"},
	"transfer":  {"pki", "cluster"},
	"network":   {"network", "cluster", "internal/run"},
	"mount":     {"cluster", "internal/run"},
	"backend":   {"cluster", "mount"},
	"suite":     {"mount"}, // and its contract and cluster
	"driver":    {"backend", "mount", "internal/run", "cluster", "blockstore/client"},
	"part":      {"backend", "mount", "internal/run", "cluster", "blockstore/client"}, // of several drivers
	"container": {"cluster"},
	"store":     {"blockstore", "backend", "mount", "pki", "internal/run", "cluster"},
	"client":    {"backend", "cluster"}, // of a block store, which drivers use
	"runtime":   {"container", "internal/run", "cluster"},

	"dockerplugin": {"api", "cluster"},
	"csi":          {"api", "cluster"},
	"web":          {"api", "cluster"},

	"devcluster": {"devcluster", "internal", "mount", "api", "pki", "cluster"},
	"internal":   {"internal", "packaging"},
	"packaging":  {},
	"cmd":        {"*"},
	"test":       {"*"},
}

// ruleOf names the row of mayImport that holds for a package.
func ruleOf(short string) string {
	if short == "backend/all" {
		return "cmd" // wiring
	}
	top, _, nested := strings.Cut(short, "/")
	switch {
	case suiteOf(short) != "":
		return "suite"
	case slices.Contains(parts, short):
		return "part"
	case short == "blockstore":
		return "store"
	case short == "blockstore/client":
		return "client"
	case nested && top == "backend":
		return "driver"
	case nested && top == "container":
		return "runtime"
	}
	return top
}

// parts stand under backend/ and are no drivers: what several drivers are made of, which nobody else sees.
var parts = []string{"backend/userdev"}

// suiteOf names the contract whose suite a package is part of.
func suiteOf(short string) string {
	for _, contract := range []string{"backend", "container"} {
		if under(short, contract+"/"+contract+"test") {
			return contract
		}
	}
	return ""
}

func permitted(importer, imported string) bool {
	if imported == "backend/all" || under(imported, "cmd") {
		return under(importer, "cmd") || under(importer, "test")
	}
	row := ruleOf(importer)
	if row == "suite" {
		return imported == "cluster" || imported == suiteOf(importer) || suiteOf(imported) == suiteOf(importer) ||
			slices.Contains(mayImport[row], imported)
	}
	if ruleOf(imported) == "part" {
		return row == "driver" || row == "part" || row == "cmd" || row == "test"
	}
	// All but the wiring see contracts, never who fulfils them; a driver may have packages of its own below it.
	if plugged := ruleOf(imported); plugged == "driver" || plugged == "runtime" || plugged == "suite" {
		return under(imported, importer) && importer != "backend" && importer != "container" || row == "cmd" || row == "test"
	}
	return slices.ContainsFunc(mayImport[row], func(allowed string) bool {
		return allowed == "*" || under(imported, allowed)
	})
}

func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, p := range packages(t) {
		if _, known := mayImport[ruleOf(p.short())]; !known {
			t.Errorf("%s has no row in mayImport: say there what it may import", p.short())
		}
		for _, imported := range ours(p.Imports) {
			if !permitted(p.short(), imported) {
				t.Errorf("%s imports %s; it may import %v", p.short(), imported, mayImport[ruleOf(p.short())])
			}
		}
	}
}

func TestDriversTestsDoNotSeeOtherDrivers(t *testing.T) {
	for _, p := range packages(t) {
		if ruleOf(p.short()) != "driver" {
			continue
		}
		for _, imported := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
			if ruleOf(imported) == "driver" && !under(imported, p.short()) && !slices.Contains(layers, imported) {
				t.Errorf("the tests of %s import the driver %s", p.short(), imported)
			}
		}
	}
}

// layers are put on top of drivers, and the tests of those try them together.
var layers = []string{"backend/block", "backend/fault"}

func TestOnlyRunStartsCommands(t *testing.T) {
	for _, p := range packages(t) {
		if under(p.short(), "internal/run") || under(p.short(), "test") {
			continue
		}
		if slices.Contains(slices.Concat(p.Imports, p.TestImports, p.XTestImports), "os/exec") {
			t.Errorf("%s imports os/exec; only internal/run does", p.short())
		}
	}
}

// wrappers stand under backend/ too and wrap a driver; they are put round it where all is wired.
var wrappers = []string{"backend/fault"}

func TestEveryDriverIsListed(t *testing.T) {
	var listed []string
	var drivers []string
	for _, p := range packages(t) {
		switch {
		case p.short() == "backend/all":
			listed = ours(p.Imports)
		case slices.Contains(wrappers, p.short()):
		case ruleOf(p.short()) == "driver" && strings.Count(p.short(), "/") == 1:
			drivers = append(drivers, p.short())
		}
	}
	for _, driver := range drivers {
		if !slices.Contains(listed, driver) {
			t.Errorf("%s is not in backend/all", driver)
		}
	}
}

// The table itself is tried on what it must refuse and on what it must let pass.
func TestTableOfImports(t *testing.T) {
	for _, c := range []struct {
		importer, imported string
		want               bool
	}{
		{"cluster", "plan", false},
		{"plan", "cluster", true},
		{"plan", "agent", false},
		{"backend", "cluster", true},
		{"backend", "backend/mem", false},
		{"backend/mem", "backend", true},
		{"backend/mem", "backend/btrfs", false},
		{"backend/mem", "backend/backendtest", false},
		{"backend/mem", "backend/userdev", true},
		{"backend/userdev", "backend/mem", false},
		{"backend/userdev", "mount", true},
		{"agent", "backend/userdev", false},
		{"backend/mem", "blockstore/client", true},
		{"backend/mem", "blockstore", false},
		{"blockstore", "blockstore/client", true},
		{"blockstore", "backend/mem", false},
		{"blockstore/client", "blockstore", false},
		{"backend/btrfs", "backend/btrfs/sendstream", true},
		{"backend/btrfs", "agent", false},
		{"backend/btrfs", "container", false},
		{"backend/all", "backend/btrfs", true},
		{"backend/backendtest", "backend", true},
		{"backend/backendtest", "backend/mem", false},
		{"backend", "backend/backendtest", false},
		{"container/containertest/probe", "container/containertest", true},
		{"container/containertest/probe", "container/docker", false},
		{"container/docker", "container", true},
		{"container/docker", "container/mem", false},
		{"container/docker", "network", false},
		{"control", "backend", false},
		{"control/store", "cluster", true},
		{"control", "control/store", true},
		{"agent", "control", false},
		{"agent", "backend/all", false},
		{"agent", "backend", true},
		{"agent", "backend/btrfs", false},
		{"container", "container/docker", false},
		{"csi", "control", false},
		{"csi", "api", true},
		{"cmd/flocker", "backend/all", true},
		{"devcluster", "cmd/flocker", false},
		{"devcluster", "agent", false},
	} {
		if got := permitted(c.importer, c.imported); got != c.want {
			t.Errorf("permitted(%q, %q) = %v; want %v", c.importer, c.imported, got, c.want)
		}
	}
}
