// SPDX-License-Identifier: Apache-2.0

// Package runtest is for tests that run other programs.
package runtest

import (
	"os"
	"testing"

	"github.com/flocker-project/flocker/internal/run"
)

// Need leaves a test that works on the machine itself out where it is not to (-short), or cannot for want of root. It fails
// where a program is missing.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("works on the machine itself, which fast tests leave alone")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	Programs(t, programs...)
}

// Programs fails a test for which a program is missing: scripts/setup.sh installs them all, and a test that was left out then
// would hide that it does not.
func Programs(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := run.Find(program); err != nil {
			t.Fatalf("%v; scripts/setup.sh installs it", err)
		}
	}
}
