// SPDX-License-Identifier: Apache-2.0

package supervisor_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{
		"1gbit": 1e9, "2.5Gbit": 25e8, "100mbit": 1e8, " 500kbit ": 5e5,
		"": 0, "1": 0, "gbit": 0, "-1gbit": 0, "0mbit": 0, "1e99gbit": 0, "nangbit": 0, "1gbit; reboot": 0,
	} {
		got, err := supervisor.ParseRate(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestReadSpecRefusesWhatCannotBeStarted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "children.json")
	for content, ok := range map[string]bool{
		`[]`: true,
		`[{"name":"docker","command":["dockerd"]}]`: true,
		`[{"name":"docker"}]`:                       false,
		`[{"command":["dockerd"]}]`:                 false,
		`{`:                                         false,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := supervisor.ReadSpec(path); (err == nil) != ok {
			t.Errorf("ReadSpec of %s: %v; want ok %v", content, err, ok)
		}
	}
}
