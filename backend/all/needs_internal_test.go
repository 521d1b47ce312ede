// SPDX-License-Identifier: Apache-2.0

package all

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNewer(t *testing.T) {
	for release, want := range map[string]bool{
		"5.8.0": true, "5.10.0-8-amd64": true, "6.1": true, "5.7.19": false, "4.19.0": false, "x": false, "": false,
	} {
		if got := newer(release, "5.8"); got != want {
			t.Errorf("newer(%q, 5.8) = %v; want %v", release, got, want)
		}
	}
}

func TestLoadable(t *testing.T) {
	dir := t.TempDir()
	dep := "kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/raid6/raid6_pq.ko.xz\nkernel/fs/xfs/xfs.ko:\n"
	if err := os.WriteFile(filepath.Join(dir, "modules.dep"), []byte(dep), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"btrfs": true, "xfs": true, "raid6_pq": false, "ext4": false} {
		if got := loadable(dir, name); got != want {
			t.Errorf("loadable(%s) = %v; want %v", name, got, want)
		}
	}
	if loadable(filepath.Join(dir, "none"), "xfs") {
		t.Error("loadable without modules.dep = true; want false")
	}
}
