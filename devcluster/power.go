// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/devcluster/loopdev"
	"github.com/flocker-project/flocker/mount"
)

// gracefulStop is the time in seconds that a node has to end its containers in a graceful stop.
const gracefulStop = 30

// Stop takes a node's power away; a graceful stop lets it end its containers first. A stopped node stays stopped.
func (c *Cluster) Stop(ctx context.Context, node string, graceful bool) error {
	m, err := c.machine(ctx, node)
	if err != nil {
		return err
	}
	if m.summary.State == container.StatePaused {
		if err := c.Unpause(ctx, node); err != nil {
			return err
		}
	}
	if m.running() || m.summary.State == container.StatePaused {
		if err := c.dying(ctx, m, func() error { return c.end(ctx, m, graceful) }); err != nil {
			return fmt.Errorf("stop %s: %w", node, err)
		}
	}
	return c.detachLoops(ctx, m.Node)
}

func (c *Cluster) end(ctx context.Context, m machine, graceful bool) error {
	ended := c.engine.docker.ContainerWait(ctx, m.Container, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	var err error
	if graceful {
		timeout := gracefulStop
		_, err = c.engine.docker.ContainerStop(ctx, m.Container, client.ContainerStopOptions{Timeout: &timeout})
	} else {
		_, err = c.engine.docker.ContainerKill(ctx, m.Container, client.ContainerKillOptions{Signal: "KILL"})
	}
	if err != nil {
		return err
	}
	select {
	case <-ended.Result:
		return nil
	case err := <-ended.Error:
		return err
	}
}

// Start boots a stopped node; a running one stays as it is.
func (c *Cluster) Start(ctx context.Context, node string) error {
	m, err := c.machine(ctx, node)
	if err != nil {
		return err
	}
	return c.boot(ctx, m.Node)
}

// Pause freezes a node with everything in it, as a machine that hangs.
func (c *Cluster) Pause(ctx context.Context, node string) error {
	m, err := c.machine(ctx, node)
	if err != nil || m.summary.State == container.StatePaused {
		return err
	}
	if _, err := c.engine.docker.ContainerPause(ctx, m.Container, client.ContainerPauseOptions{}); err != nil {
		return fmt.Errorf("pause %s: %w", node, err)
	}
	return nil
}

// Unpause lets a frozen node go on.
func (c *Cluster) Unpause(ctx context.Context, node string) error {
	m, err := c.machine(ctx, node)
	if err != nil || m.summary.State != container.StatePaused {
		return err
	}
	if _, err := c.engine.docker.ContainerUnpause(ctx, m.Container, client.ContainerUnpauseOptions{}); err != nil {
		return fmt.Errorf("unpause %s: %w", node, err)
	}
	return nil
}

// Down removes the cluster with the disks of its nodes and leaves nothing but the cached images. A cluster that is
// not there, or only in part, is no error.
func Down(ctx context.Context, e *Engine, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	c, err := Open(ctx, e, name)
	if errors.Is(err, ErrNoCluster) {
		// Parts may be left of an Up or Down that was cut short; their names do not depend on the subnet.
		c, err = &Cluster{engine: e, name: name, subnet: anySubnet}, nil
	}
	if err != nil {
		return err
	}
	machines, err := c.machines(ctx)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, m := range machines {
		group.Go(func() error { return c.remove(groupCtx, m) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.removeRest(ctx)
}

func (c *Cluster) remove(ctx context.Context, m machine) error {
	id := m.summary.ID
	err := c.dying(ctx, m, func() error {
		_, err := c.engine.docker.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if cerrdefs.IsConflict(err) {
			err = c.waitRemoved(ctx, id) // the work of an earlier Down that was cut short
		}
		return err
	})
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("remove %s: %w", m.Container, err)
	}
	return c.detachLoops(ctx, m.Node)
}

func (c *Cluster) waitRemoved(ctx context.Context, id string) error {
	removed := c.engine.docker.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case <-removed.Result:
		return nil
	case err := <-removed.Error:
		return err
	}
}

func (c *Cluster) removeRest(ctx context.Context) error {
	volumes, err := c.engine.docker.VolumeList(ctx, client.VolumeListOptions{Filters: c.filter()})
	if err != nil {
		return fmt.Errorf("list volumes of cluster %s: %w", c.name, err)
	}
	for _, v := range volumes.Items {
		// Once more, for the disk of a node whose container is gone already.
		if strings.HasSuffix(v.Name, dataVolume) || strings.HasSuffix(v.Name, sharedVolume) {
			if _, err := loopdev.Detach(ctx, v.Mountpoint); err != nil {
				return fmt.Errorf("loop devices of volume %s: %w", v.Name, err)
			}
			if err := removePoints(v.Mountpoint); err != nil {
				return fmt.Errorf("empty volume %s: %w", v.Name, err)
			}
		}
		if _, err := c.engine.docker.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil {
			return fmt.Errorf("remove volume %s: %w", v.Name, err)
		}
	}
	networks, err := c.engine.docker.NetworkList(ctx, client.NetworkListOptions{Filters: c.filter()})
	if err != nil {
		return fmt.Errorf("list networks of cluster %s: %w", c.name, err)
	}
	for _, n := range networks.Items {
		if _, err := c.engine.docker.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
			return fmt.Errorf("remove network %s: %w", n.Name, err)
		}
	}
	return nil
}

// removePoints removes the mount points that an agent made on a node's disk: they are
// immutable, and the engine cannot remove them with the rest.
func removePoints(disk string) error {
	entries, err := os.ReadDir(disk)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // an engine elsewhere, or no right to look: the engine says what is wrong
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if e.IsDir() && info.Mode().Perm() == 0 {
			if err := mount.RemovePoint(filepath.Join(disk, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// detachLoops frees the loop devices of a node that is off; the kernel knows nothing of nodes and keeps them.
func (c *Cluster) detachLoops(ctx context.Context, n Node) error {
	// In the folder that all share, what a node has attached lies in a folder of its name.
	for name, below := range map[string]string{
		n.Container + dataVolume:           "",
		networkName(c.name) + sharedVolume: filepath.Join("attached", n.Name),
	} {
		volume, err := c.engine.docker.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if cerrdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("find volume %s: %w", name, err)
		}
		if _, err := loopdev.Detach(ctx, filepath.Join(volume.Volume.Mountpoint, below)); err != nil {
			return fmt.Errorf("loop devices of %s: %w", n.Name, err)
		}
	}
	return nil
}
