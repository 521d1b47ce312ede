// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
)

// dataset is that of tests which need one only.
const dataset = cluster.DatasetID("5e4f7f7c-0000-4000-8000-000000000001")

// daemon is the zfs-fuse that the tests started, if they had to. There is one on a machine.
var daemon struct {
	sync.Mutex
	cmd *run.Cmd
}

const daemonWithin = 10 * time.Second

// needsZFS skips without ZFS, and starts zfs-fuse where the kernel has none.
func needsZFS(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("makes real ZFS pools")
	}
	if me, err := user.Current(); err != nil || me.Uid != "0" {
		t.Skip("ZFS pools need root")
	}
	if err := run.Command(t.Context(), "zfs", "send").Run(); errors.Is(err, run.ErrNotInstalled) {
		t.Skipf("ZFS pools need package zfs-fuse, or zfsutils-linux with its kernel module: %v", err)
	}
	daemon.Lock()
	defer daemon.Unlock()
	if daemon.cmd != nil || run.Command(t.Context(), "zpool", "list").Run() == nil {
		return
	}
	switch err := startDaemon(); {
	case errors.Is(err, run.ErrNotInstalled): // not every release has the package
		t.Skipf("ZFS is not in the kernel: %v", err)
	case err != nil:
		t.Fatalf("zfs-fuse does not start: %v", err)
	}
}

func startDaemon() error {
	cmd := run.Command(context.Background(), "zfs-fuse", "--no-daemon", "--no-kstat-mount")
	if err := cmd.Start(); err != nil {
		return err
	}
	deadline := time.Now().Add(daemonWithin)
	for run.Command(context.Background(), "zpool", "list").Run() != nil {
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("it does not answer within %s", daemonWithin), syscall.Kill(cmd.Pid(), syscall.SIGKILL), cmd.Wait())
		}
	}
	daemon.cmd = cmd
	return nil
}

// stopDaemon ends the daemon that the tests started.
func stopDaemon(signal syscall.Signal) error {
	daemon.Lock()
	defer daemon.Unlock()
	if daemon.cmd == nil {
		return nil
	}
	err := syscall.Kill(daemon.cmd.Pid(), signal)
	late := time.AfterFunc(daemonWithin, func() {
		_ = syscall.Kill(daemon.cmd.Pid(), syscall.SIGKILL) // it has ended meanwhile, or ends now
	})
	defer late.Stop()
	_ = daemon.cmd.Wait() // it says that it was killed
	daemon.cmd = nil
	return err
}

func TestMain(m *testing.M) {
	if told := os.Getenv(victimVariable); told != "" {
		fmt.Fprintln(os.Stderr, liveUntilKilled(told))
		os.Exit(1)
	}
	code := m.Run()
	if err := stopDaemon(syscall.SIGTERM); err != nil {
		fmt.Fprintln(os.Stderr, "stop zfs-fuse:", err)
		code = 1
	}
	os.Exit(code)
}
