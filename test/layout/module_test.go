// SPDX-License-Identifier: Apache-2.0

// Package layout_test holds the shape of the code: who may import whom, what every file and package has.
package layout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/internal/run"
)

const (
	root   = "../.."
	module = "github.com/flocker-project/flocker"
)

// pkg is a package of this module, as `go list -json` tells it.
type pkg struct {
	Dir, ImportPath                                    string
	GoFiles, TestGoFiles, XTestGoFiles, IgnoredGoFiles []string
	Imports, TestImports, XTestImports                 []string
}

// short is the import path within the module, "." for its root.
func (p pkg) short() string { return within(p.ImportPath) }

func within(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// ours keeps the imports that are of this module, short.
func ours(imports []string) []string {
	var kept []string
	for _, path := range imports {
		if path == module || strings.HasPrefix(path, module+"/") {
			kept = append(kept, within(path))
		}
	}
	return kept
}

func (p pkg) allGoFiles() []string {
	var all []string
	for _, list := range [][]string{p.GoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles} {
		for _, name := range list {
			all = append(all, filepath.Join(p.Dir, name))
		}
	}
	return all
}

func command(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	c := run.Command(t.Context(), name, args...)
	c.Dir = root
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func packages(t *testing.T) []pkg {
	t.Helper()
	var all []pkg
	decoder := json.NewDecoder(bytes.NewReader(command(t, "go", "list", "-e", "-json", "./...")))
	for {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("output of go list: %v", err)
		}
		all = append(all, p)
	}
}
