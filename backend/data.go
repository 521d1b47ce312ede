// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/cluster"
)

// MakeData makes DataDir in a head. It is root's alone until it is as asked for.
func MakeData(head string, r cluster.Root) error {
	mode, err := r.Permissions()
	if err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	path := filepath.Join(head, DataDir)
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	// A change of owner takes the setuid bits away.
	if err := errors.Join(os.Chown(path, int(r.UID), int(r.GID)), unix.Chmod(path, mode)); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	return nil
}
