// SPDX-License-Identifier: Apache-2.0

package mount_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/mount"
)

// Who keeps volumes in a folder that is full has to start again after a boot.
func TestFullFolderIsNoErrorOfTryingWhatItShares(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a filesystem, which needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("WriteFile = %v; want a full filesystem", err)
	}
	if reason, err := mount.Shares(dir); !errors.Is(reason, unix.ENOSPC) || err != nil {
		t.Errorf("Shares = %v, %v; want that there is no room", reason, err)
	}
}

// What cannot be read is not the same as anything: that two files are is a proof that nothing was written.
func TestFilesThatCannotBeReadAreNotTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	var pair [2]*os.File
	for i := range pair {
		f, err := os.OpenFile(path, unix.O_PATH, 0) // whose every use but its name fails
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		pair[i] = f
	}
	if same, err := mount.SameContent(pair[0], pair[1]); same || err == nil {
		t.Errorf("SameContent = %v, %v; want an error", same, err)
	}
	if same, err := mount.SameFiles(path, path); !same || err != nil {
		t.Errorf("SameFiles of one file = %v, %v", same, err)
	}
}
