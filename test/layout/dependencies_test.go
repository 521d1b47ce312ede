// SPDX-License-Identifier: Apache-2.0

package layout_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A row of docs/dependencies.md: | `module` | reason |.
var reasonRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*\\S) +\\|$")

func TestEveryDirectModuleHasAReason(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(command(t, "go", "mod", "edit", "-json"), &mod); err != nil {
		t.Fatalf("output of go mod edit: %v", err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	for _, row := range reasonRow.FindAllStringSubmatch(string(page), -1) {
		reasons[row[1]] = true
	}
	for _, module := range mod.Require {
		if !module.Indirect && !reasons[module.Path] {
			t.Errorf("%s is required directly; docs/dependencies.md does not say why", module.Path)
		}
		delete(reasons, module.Path)
	}
	for path := range reasons {
		t.Errorf("docs/dependencies.md gives a reason for %s, which go.mod does not require", path)
	}
}
