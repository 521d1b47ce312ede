// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"os"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/packaging/systemd"
)

func TestUnitOfThePackagedProgramIsThePackagedUnit(t *testing.T) {
	for _, name := range []string{"flocker-agent", "flocker-blockstore", "flocker-control"} {
		packaged, err := os.ReadFile(name + ".service")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := systemd.Unit(name, "/usr/bin/flocker"); err != nil || got != string(packaged) {
			t.Errorf("Unit(%q) = %v\n%s", name, err, got)
		}
	}
}

func TestUnitQuotesWhatSystemdWouldExpand(t *testing.T) {
	got, err := systemd.Unit("flocker-agent", "/opt/my flocker/bin", "--agent-config", "/etc/100%/$x")
	if want := "ExecStart=\"/opt/my flocker/bin\" agent --agent-config \"/etc/100%%/$$x\"\n"; err != nil || !strings.Contains(got, want) {
		t.Errorf("Unit = %v\n%s\nwant %s", err, got, want)
	}
}

// Rule 3 of the safety protocol: another mount namespace would go on writing to what the agent has unmounted.
func TestNoUnitMakesAMountNamespace(t *testing.T) {
	for _, name := range []string{"flocker-agent", "flocker-blockstore", "flocker-control"} {
		text, err := systemd.Unit(name, "/usr/bin/flocker")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			for _, option := range []string{
				"Private", "Protect", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "TemporaryFileSystem",
				"RootDirectory", "DynamicUser", "CacheDirectory", "MountFlags=private", "MountFlags=slave",
			} {
				if strings.HasPrefix(line, option) {
					t.Errorf("%s has %s", name, line)
				}
			}
		}
	}
}
