// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func syncFilesystem(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// room is the size of a mounted filesystem.
func room(t *testing.T, path string) int64 {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Blocks) * fs.Bsize
}
