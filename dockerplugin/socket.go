// SPDX-License-Identifier: Apache-2.0

package dockerplugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/flocker-project/flocker/cluster"
)

// DefaultSocket is where Docker looks for a volume driver named flocker.
const DefaultSocket = "/run/docker/plugins/flocker/flocker.sock"

// Listen makes the socket, for root alone. One that a dead process has left is replaced; the socket stays after this process, so that
// Docker tries again while the next one starts.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of Docker's plug-in socket: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of Docker's plug-in socket: %w", err)
	}
	if err := removeDead(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for Docker: %w", err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for Docker: %w", err), ln.Close())
	}
	return ln, nil
}

func removeDead(ctx context.Context, path string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("another process serves Docker's plug-in socket %s; stop it, or set docker_plugin in agent.yml: %w", path, cluster.ErrExists), conn.Close())
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("docker's plug-in socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket of a dead process: %w", err)
	}
	return nil
}
