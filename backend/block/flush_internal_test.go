// SPDX-License-Identifier: Apache-2.0

package block

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/mount"
)

// What is on the disk the moment Flush returns is what programs had written, also those that did not ask for it.
func TestWhatIsFlushedIsOnTheDisk(t *testing.T) {
	d := newDisk(t, 64<<20)
	driver := d.driver(t, "ext4")
	must(t, driver.Create(t.Context(), spec()))
	path := filepath.Join(t.TempDir(), "point")
	must(t, driver.Mount(t.Context(), dataset, path))
	want := bytes.Repeat([]byte("written and not flushed"), 1000)
	must(t, os.WriteFile(filepath.Join(path, backend.DataDir, "file"), want, 0o600))
	must(t, driver.Flush(t.Context(), dataset))
	content, err := os.ReadFile(d.file)
	if err != nil || !bytes.Contains(content, want) {
		t.Errorf("the disk does not have what was written (%v)", err)
	}
	must(t, errors.Join(driver.Unmount(t.Context(), dataset), mount.RemovePoint(path)))
}
