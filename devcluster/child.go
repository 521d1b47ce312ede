// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/moby/moby/client"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// ErrNoChild says that a node's supervisor runs no such process.
var ErrNoChild = errors.New("no such process under the supervisor")

// Enable lets a gated child, agent or control, start; its identity should be in place by then. It is kept over restarts.
func (c *Cluster) Enable(ctx context.Context, node, child string) error {
	return c.mark(ctx, node, supervisor.EnabledFile(child), true)
}

// Hold keeps the supervisor from starting a child again after its next end.
func (c *Cluster) Hold(ctx context.Context, node, child string) error {
	if _, err := c.child(ctx, node, child); err != nil {
		return err
	}
	return c.mark(ctx, node, supervisor.HoldFile(child), true)
}

// Release ends a Hold; the child starts at once.
func (c *Cluster) Release(ctx context.Context, node, child string) error {
	if _, err := c.child(ctx, node, child); err != nil {
		return err
	}
	return c.mark(ctx, node, supervisor.HoldFile(child), false)
}

// mark makes or removes a file that the supervisor heeds and tells it to look.
func (c *Cluster) mark(ctx context.Context, node, file string, set bool) error {
	m, err := c.machine(ctx, node)
	if err != nil {
		return err
	}
	if set {
		if err := c.CopyTo(ctx, node, file, nil, 0o644); err != nil {
			return err
		}
	} else if _, err := c.Exec(ctx, node, "rm", "-f", file); err != nil {
		return err
	}
	if !m.running() {
		return nil
	}
	if _, err := c.engine.docker.ContainerKill(ctx, m.Container, client.ContainerKillOptions{Signal: "HUP"}); err != nil {
		return fmt.Errorf("wake the supervisor of %s: %w", node, err)
	}
	return nil
}

// Kill ends a child with SIGKILL; the supervisor starts it again unless it is held. With docker, containers live on.
func (c *Cluster) Kill(ctx context.Context, node, child string) error {
	status, err := c.child(ctx, node, child)
	if err != nil {
		return err
	}
	if status.PID == 0 {
		return fmt.Errorf("kill %s on %s: it is not running, but %s", child, node, status.State)
	}
	n, err := c.Node(node)
	if err != nil {
		return err
	}
	return c.signal(ctx, n, status, "KILL")
}

func (c *Cluster) signal(ctx context.Context, n Node, child supervisor.ChildStatus, signal string) error {
	_, err := c.Exec(ctx, n.Name, "kill", "-"+signal, strconv.Itoa(child.PID))
	return err
}

func (c *Cluster) child(ctx context.Context, node, name string) (supervisor.ChildStatus, error) {
	m, err := c.machine(ctx, node)
	if err != nil {
		return supervisor.ChildStatus{}, err
	}
	status, err := c.supervision(ctx, m.Node)
	if err != nil {
		return supervisor.ChildStatus{}, err
	}
	names := make([]string, len(status.Children))
	for i, child := range status.Children {
		if child.Name == name {
			return child, nil
		}
		names[i] = child.Name
	}
	return supervisor.ChildStatus{}, fmt.Errorf("%w: %s on %s (there are: %v)", ErrNoChild, name, node, slices.Clip(names))
}

// supervision is what the supervisor of a running node reports.
func (c *Cluster) supervision(ctx context.Context, n Node) (supervisor.Status, error) {
	var status supervisor.Status
	content, err := c.Exec(ctx, n.Name, "cat", supervisor.StatusFile)
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(content, &status); err != nil {
		return status, fmt.Errorf("status of %s: %w", n.Name, err)
	}
	return status, nil
}
