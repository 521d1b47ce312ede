// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/devcluster/loopdev"
)

const cgroupRoot = "/sys/fs/cgroup"

// prepareMachine makes the container look like a machine that has just booted and returns the control group that
// the node's own one is, for the containers of its engine to live below: what freezes or ends the node takes them too.
func prepareMachine(ctx context.Context, log *slog.Logger) (cgroup string, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return "", fmt.Errorf("share the mounts of the node: %w", err)
	}
	// A machine that boots has no loop devices; here the kernel has kept those of the node's earlier life.
	devices, err := loopdev.Detach(ctx, DataDir)
	if err != nil {
		return "", err
	}
	if len(devices) > 0 {
		log.Info("detached loop devices of an earlier boot", "devices", devices)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil {
		return "", fmt.Errorf("look at control groups: %w", err)
	}
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("read own control group: %w", err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return ownCgroup(string(content)), nil
	}
	// In a namespace of its own the node sees its group as the root. Anything else would be another's to change.
	if strings.TrimSpace(string(content)) != "0::/" {
		return "", fmt.Errorf("control groups: want a namespace of the node's own, but it is in %q", content)
	}
	if err := unix.Mount("", cgroupRoot, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", fmt.Errorf("make control groups writable: %w", err)
	}
	return "", delegate(cgroupRoot)
}

// ownCgroup is the path in the first hierarchy that has a controller, of which the engine uses the same in all.
func ownCgroup(proc string) string {
	for line := range strings.Lines(proc) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] != "" && !strings.HasPrefix(parts[1], "name=") {
			return strings.TrimSuffix(parts[2], "/")
		}
	}
	return ""
}

// delegate moves every process to a group of their own: version 2 gives controllers only to the children of a
// group that holds no process itself.
func delegate(root string) error {
	leaf := filepath.Join(root, "init")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return fmt.Errorf("make control group: %w", err)
	}
	procs, err := os.ReadFile(filepath.Join(root, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("read processes of the control group: %w", err)
	}
	for field := range strings.FieldsSeq(string(procs)) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid == 0 {
			continue
		}
		err = os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(field), 0o644)
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("move process %d to its control group: %w", pid, err)
		}
	}
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read controllers: %w", err)
	}
	names := strings.Fields(string(controllers))
	for i := range names {
		names[i] = "+" + names[i]
	}
	enable := []byte(strings.Join(names, " "))
	if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), enable, 0o644); err != nil {
		return fmt.Errorf("hand controllers down: %w", err)
	}
	return nil
}
