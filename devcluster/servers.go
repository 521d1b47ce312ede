// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/mount"
)

// servers are the connections of the filesystems that a node's own processes serve (FUSE), as user-space volumes are.
//
// When a node dies, its mounts go with its last process. Where that is the one that serves a filesystem below a mounted one, it
// waits in its own end for its own answer, and the kernel never ends it. Breaking the connection ends that wait.
type servers struct {
	init        string // the node's first process in /proc
	connections []connection
}

// connection is one of them. It is held, so that nobody else's gets its number.
type connection struct {
	number uint32
	held   *os.File
}

// serversOf finds them while the node runs. A node whose processes are not on this machine has none that could be found.
func (c *Cluster) serversOf(ctx context.Context, m machine) (servers, error) {
	found, err := c.engine.docker.ContainerInspect(ctx, m.Container, client.ContainerInspectOptions{})
	if cerrdefs.IsNotFound(err) || err == nil && (found.Container.State == nil || found.Container.State.Pid == 0) {
		return servers{}, nil
	}
	if err != nil {
		return servers{}, fmt.Errorf("look at %s: %w", m.Container, err)
	}
	s := servers{init: filepath.Join("/proc", strconv.Itoa(found.Container.State.Pid))}
	// With an engine elsewhere the number is some other process's, whose connections are not ours to break.
	groups, err := os.ReadFile(filepath.Join(s.init, "cgroup"))
	if err != nil || !strings.Contains(string(groups), m.summary.ID) {
		return s, nil //nolint:nilerr // it is not there, or not ours to look at
	}
	table, err := mount.TableOf(found.Container.State.Pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return s, nil
	}
	for _, e := range table {
		if e.Type != "fuse" {
			continue
		}
		held, err := os.OpenFile(filepath.Join(s.init, "root", e.Point), unix.O_PATH, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just gone
		}
		if err != nil {
			return s, errors.Join(fmt.Errorf("hold %s of %s: %w", e.Point, m.Container, err), s.letGo())
		}
		s.connections = append(s.connections, connection{unix.Minor(e.Dev), held})
	}
	return s, err
}

func (s servers) letGo() error {
	var errs []error
	for _, c := range s.connections {
		errs = append(errs, c.held.Close())
	}
	return errors.Join(errs...)
}

// whenDead breaks the connections once the node's first process has ended, after which all others end.
func (s servers) whenDead(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for len(s.connections) > 0 {
		if _, err := os.Readlink(filepath.Join(s.init, "exe")); err != nil {
			return s.abort()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// abort breaks the connections. One that is gone by itself is no error.
func (s servers) abort() (err error) {
	dir, err := os.MkdirTemp("", "flocker-fusectl-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := unix.Mount("none", dir, "fusectl", 0, ""); err != nil {
		return fmt.Errorf("mount fusectl: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, 0)) }()
	for _, c := range s.connections {
		file := filepath.Join(dir, strconv.FormatUint(uint64(c.number), 10), "abort")
		if e := os.WriteFile(file, []byte("1"), 0); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("break a connection of a dead server: %w", e))
		}
	}
	return err
}

// dying does something that ends a node, and keeps its servers from being waited for for ever.
func (c *Cluster) dying(ctx context.Context, m machine, end func() error) error {
	s, err := c.serversOf(ctx, m)
	if err != nil {
		return err
	}
	watched, ended := context.WithCancel(ctx)
	broken := make(chan error, 1)
	go func() { broken <- s.whenDead(watched) }()
	err = end()
	ended()
	return errors.Join(err, <-broken, s.letGo())
}
