// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// endLeftovers kills what is left of a container that Docker takes for stopped: an engine that dies while it starts one
// leaves the process that waits to become the application, with the datasets mounted, and does not know of it afterwards.
func endLeftovers(id string) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		groups, err := os.ReadFile(procPath(pid, "cgroup"))
		if err != nil || !bytes.Contains(groups, []byte(id)) {
			continue // it has ended, or is another's
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d, left of container %s: %w", pid, id, err)
		}
	}
	return nil
}
