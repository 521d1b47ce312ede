// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"os/exec"
)

// Find is where a program is on this machine's path; ErrNotInstalled where it is not.
func Find(name string) (path string, err error) {
	path, err = exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrNotInstalled, name)
	}
	return path, nil
}
