// SPDX-License-Identifier: Apache-2.0

package layout_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxLines = 500
	maxBytes = 512 << 10
)

// vague are names that say nothing of what a package provides.
var vague = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "manager", "misc", "shared"}

func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Error(err)
				continue
			}
			if file.Doc != nil {
				with = append(with, name)
			}
		}
		if len(p.GoFiles) > 0 && len(with) != 1 {
			t.Errorf("%s: package comments in %v; want exactly one", p.short(), with)
		}
	}
}

func TestPackageNamesSayWhatTheyProvide(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(vague, filepath.Base(p.Dir)) {
			t.Errorf("%s: put its functions beside their user, or name what it provides", p.short())
		}
	}
}

func TestEveryGoFileIsLicensedAndShort(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.allGoFiles() {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Error(err)
				continue
			}
			if !bytes.HasPrefix(content, []byte("// SPDX-License-Identifier: Apache-2.0\n")) {
				t.Errorf("%s: the first line is not the licence's", relative(name))
			}
			if lines := bytes.Count(content, []byte("\n")); lines > maxLines {
				t.Errorf("%s: %d lines; at most %d", relative(name), lines, maxLines)
			}
		}
	}
}

func TestSkippedTestsSayWhy(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.allGoFiles() {
			if strings.HasSuffix(name, "_test.go") {
				checkSkips(t, name)
			}
		}
	}
}

func checkSkips(t *testing.T, name string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	for node := range ast.Preorder(file) {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) > 0 {
			continue
		}
		if method, ok := call.Fun.(*ast.SelectorExpr); ok && (method.Sel.Name == "Skip" || method.Sel.Name == "SkipNow") {
			t.Errorf("%s:%d: skipped without a reason", relative(name), files.Position(call.Pos()).Line)
		}
	}
}

func TestOnlySmallTextsAreKept(t *testing.T) {
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skipf("not a git checkout, so what is kept is not known: %v", err)
	}
	kept := command(t, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for name := range strings.SplitSeq(strings.TrimSuffix(string(kept), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if len(content) > maxBytes {
			t.Errorf("%s: %d bytes; at most %d", name, len(content), maxBytes)
		}
		if bytes.IndexByte(content, 0) >= 0 && filepath.Ext(name) != ".png" {
			t.Errorf("%s is binary", name)
		}
	}
}

func relative(name string) string {
	top, err := filepath.Abs(root)
	if err != nil {
		return name
	}
	short, err := filepath.Rel(top, name)
	if err != nil {
		return name
	}
	return short
}
