// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"os"

	"golang.org/x/sys/unix"
)

func syncFilesystem(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// room is the size of a mounted filesystem.
func room(t T, path string) int64 {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Blocks) * fs.Bsize
}
