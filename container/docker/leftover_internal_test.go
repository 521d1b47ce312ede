// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/internal/run"
)

// A process in a container's control group is ended with it, whatever Docker knows of it; others are not.
func TestWhatIsLeftOfAContainerIsEnded(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("makes a control group, as root: not among the fast tests")
	}
	const id = "e6328709cc6919b9cc17a60912299cfe3ade2f615909fd304cf35b92cd42d8d6"
	group := filepath.Join("/sys/fs/cgroup/pids", "flocker-test-"+id) // version 1
	if _, err := os.Stat(filepath.Dir(group)); err != nil {
		group = filepath.Join("/sys/fs/cgroup", "flocker-test-"+id)
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	left, other := run.Command(t.Context(), "sleep", "100"), run.Command(t.Context(), "sleep", "100")
	for _, c := range []interface{ Start() error }{left, other} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(left.Pid())), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := endLeftovers(id); err != nil {
		t.Error(err)
	}
	if err := left.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process in the container's group ended with %v", err)
	}
	if !alive(other.Pid()) {
		t.Error("another process was killed")
	}
	if err := unix.Kill(other.Pid(), unix.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = other.Wait() // it was killed
	if err := os.Remove(group); err != nil {
		t.Error(err)
	}
}
