// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/devcluster"
)

// nodeCommand is a command about one machine of the cluster.
func (d *devCluster) nodeCommand(use, short string, act func(context.Context, *devcluster.Cluster, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use + " NODE",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			return act(cmd.Context(), c, args[0])
		},
	}
}

func (d *devCluster) stopCommand() *cobra.Command {
	var graceful bool
	cmd := d.nodeCommand("stop", "Take a node's power away", func(ctx context.Context, c *devcluster.Cluster, node string) error {
		return c.Stop(ctx, node, graceful)
	})
	cmd.Flags().BoolVar(&graceful, "graceful", false, "let the node end its containers first")
	return cmd
}

func (d *devCluster) startCommand() *cobra.Command {
	return d.nodeCommand("start", "Boot a stopped node", func(ctx context.Context, c *devcluster.Cluster, node string) error {
		return c.Start(ctx, node)
	})
}

func (d *devCluster) pauseCommand() *cobra.Command {
	return d.nodeCommand("pause", "Freeze a node with everything in it", func(ctx context.Context, c *devcluster.Cluster, node string) error {
		return c.Pause(ctx, node)
	})
}

func (d *devCluster) unpauseCommand() *cobra.Command {
	return d.nodeCommand("unpause", "Let a frozen node go on", func(ctx context.Context, c *devcluster.Cluster, node string) error {
		return c.Unpause(ctx, node)
	})
}

// children are the processes that a machine's supervisor may run.
var children = []string{"agent", "docker", "control", storeChild, devcluster.ZFSDaemon, devcluster.CephMon, devcluster.CephOSD}

// childCommand is a command about one process that a node's supervisor runs.
func (d *devCluster) childCommand(use, short string, act func(context.Context, *devcluster.Cluster, string, string) error) *cobra.Command {
	return &cobra.Command{
		Use:       use + " NODE " + strings.Join(children, "|"),
		Short:     short,
		Args:      cobra.ExactArgs(2),
		ValidArgs: children,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			return act(cmd.Context(), c, args[0], args[1])
		},
	}
}

func (d *devCluster) killCommand() *cobra.Command {
	return d.childCommand("kill", "Kill a process of a node with SIGKILL; its supervisor starts it again",
		func(ctx context.Context, c *devcluster.Cluster, node, child string) error {
			return c.Kill(ctx, node, child)
		})
}

func (d *devCluster) holdCommand() *cobra.Command {
	return d.childCommand("hold", "Keep a process from being started again after its next end",
		func(ctx context.Context, c *devcluster.Cluster, node, child string) error {
			return c.Hold(ctx, node, child)
		})
}

func (d *devCluster) releaseCommand() *cobra.Command {
	return d.childCommand("release", "Let a held process start again",
		func(ctx context.Context, c *devcluster.Cluster, node, child string) error {
			return c.Release(ctx, node, child)
		})
}
