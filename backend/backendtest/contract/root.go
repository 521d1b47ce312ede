// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
)

// RootAt is whose DataDir of a head is that is mounted on a path, and its mode.
func RootAt(path string) (cluster.Root, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(path, backend.DataDir), &st); err != nil {
		return cluster.Root{}, fmt.Errorf("stat %s in %s: %w", backend.DataDir, path, err)
	}
	return cluster.Root{UID: st.Uid, GID: st.Gid, Mode: fmt.Sprintf("%04o", st.Mode&0o7777)}, nil
}
