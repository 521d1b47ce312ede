// SPDX-License-Identifier: Apache-2.0

package loopdev_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/devcluster/loopdev"
	"github.com/flocker-project/flocker/internal/run"
)

// attach makes a loop device over a new file and detaches it, at the latest, when the test ends.
func attach(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "pool", "pool.img")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run.Command(t.Context(), "losetup", "--find", "--show", file).Output()
	if err != nil {
		t.Skipf("needs root and loop devices: %v", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if backed(t, device, file) {
			if err := run.Command(context.WithoutCancel(t.Context()), "losetup", "--detach", device).Run(); err != nil {
				t.Error(err)
			}
		}
	})
	return device
}

func backed(t *testing.T, device, file string) bool {
	t.Helper()
	backing, err := os.ReadFile("/sys/block/" + filepath.Base(device) + "/loop/backing_file")
	return err == nil && strings.TrimSpace(string(backing)) == file
}

func TestDetachTakesOnlyDevicesOfTheFolder(t *testing.T) {
	mine, other := t.TempDir(), t.TempDir()
	device, foreign := attach(t, mine), attach(t, other)
	got, err := loopdev.Detach(t.Context(), mine)
	if err != nil || !slices.Equal(got, []string{device}) {
		t.Errorf("Detach() = %v, %v; want %s", got, err, device)
	}
	if backed(t, device, filepath.Join(mine, "pool/pool.img")) {
		t.Errorf("%s is attached still", device)
	}
	if !backed(t, foreign, filepath.Join(other, "pool/pool.img")) {
		t.Errorf("%s, which belongs to another folder, was detached", foreign)
	}
	if again, err := loopdev.Detach(t.Context(), mine); err != nil || again != nil {
		t.Errorf("second Detach() = %v, %v; want nothing", again, err)
	}
}

func TestDetachOfAMissingFolderIsNoError(t *testing.T) {
	if got, err := loopdev.Detach(t.Context(), filepath.Join(t.TempDir(), "gone")); got != nil || err != nil {
		t.Errorf("Detach() = %v, %v; want nothing", got, err)
	}
}
