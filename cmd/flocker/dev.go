// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/devcluster/supervisor"
	"github.com/flocker-project/flocker/network"
)

// devCluster is what all dev commands share: which cluster they are about.
type devCluster struct {
	name    string
	backend string
	further []string
	options []string // of the back end
	logging []string // what agents and control are told of their logs
}

func newDevCommand() *cobra.Command {
	d := &devCluster{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "A whole cluster on this machine, for trying and testing",
		Long: `A development cluster is a whole Flocker cluster on one machine. Each node is a container with its own Docker
engine and agent; the control has a container of its own. Nodes can be stopped, frozen and cut off from each other.`,
	}
	cmd.PersistentFlags().StringVar(&d.name, "name", "dev", "name of the development cluster")
	cmd.AddCommand(
		d.upCommand(), d.downCommand(), d.statusCommand(), d.envCommand(), d.loadCommand(),
		d.shellCommand(), d.execCommand(), d.logsCommand(),
		d.stopCommand(), d.startCommand(), d.pauseCommand(), d.unpauseCommand(),
		d.partitionCommand(), d.healCommand(), d.linkCommand(),
		d.killCommand(), d.holdCommand(), d.releaseCommand(),
		devInitCommand(), devNetworkCommand(),
	)
	return cmd
}

// options are what a cluster is made with; the command lines are those of the agent and control commands.
func (d *devCluster) clusterOptions(nodes int, link string) devcluster.Options {
	return devcluster.Options{
		Name:  d.name,
		Nodes: nodes,
		Link:  link,
		IPv6:  network.IPv6OfHost() == nil, // else Docker could take this machine's own IPv6 away
		AgentArgs: func(devcluster.Node) []string {
			return append([]string{"agent", "--boot-id-file", supervisor.BootIDFile, "--fault-dir", devFaultDir}, d.logging...)
		},
		ControlArgs: func(devcluster.Node) []string { return append([]string{"control"}, d.logging...) },
		StoreArgs:   storeArgs,
		Ceph:        slices.Contains(d.kinds(), backendRBD),
		Provision:   d.provision,
	}
}

func (d *devCluster) open(ctx context.Context) (*devcluster.Cluster, error) {
	engine, err := devcluster.Connect(ctx, devSay)
	if err != nil {
		return nil, err
	}
	return devcluster.Open(ctx, engine, d.name)
}

// devSay tells what takes long; it goes to standard error, so that --json stays clean.
func devSay(line string) { fmt.Fprintln(os.Stderr, line) }

func (d *devCluster) upCommand() *cobra.Command {
	var nodes int
	var link string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the cluster, or repair it",
		Long:  "Make the cluster, or repair it. A --log-level is for the cluster's agents and control too.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if level := cmd.Flags().Lookup("log-level"); level.Changed {
				d.logging = []string{"--log-level", level.Value.String()}
			}
			engine, err := devcluster.EnsureEngine(cmd.Context(), devSay)
			if err != nil {
				return err
			}
			c, err := devcluster.Up(cmd.Context(), engine, d.clusterOptions(nodes, link))
			if err != nil {
				return err
			}
			return printDevStatus(cmd, c, false)
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 3, "number of nodes")
	cmd.Flags().StringVar(&d.backend, "backend", "btrfs", "storage backend of the nodes that are made")
	storageFlags(cmd, &d.further, &d.options)
	cmd.Flags().StringVar(&link, "link", "", "rate of every node's link, such as 1gbit (default: as it is)")
	return cmd
}

func (d *devCluster) downCommand() *cobra.Command {
	var stopEngine bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster with the disks of its nodes; images stay cached",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The cluster of a machine that was started anew is on its disk, where only an engine can remove it.
			engine, err := devcluster.EnsureEngine(cmd.Context(), devSay)
			if err != nil {
				return err
			}
			if err := devcluster.Down(cmd.Context(), engine, d.name); err != nil {
				return err
			}
			if err := d.forgetUser(); err != nil || !stopEngine {
				return err
			}
			_, err = devcluster.StopEngine(cmd.Context())
			return err
		},
	}
	cmd.Flags().BoolVar(&stopEngine, "engine", false, "also stop Docker's engine if dev up started it")
	return cmd
}

func (d *devCluster) loadCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "load IMAGE [NODE...]",
		Short:   "Copy an image from this machine's engine to nodes (default: all)",
		Example: "  flocker dev load postgres:17 node1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			nodes := args[1:]
			if len(nodes) == 0 {
				all, err := c.Nodes(cmd.Context())
				if err != nil {
					return err
				}
				for _, n := range all {
					nodes = append(nodes, n.Name)
				}
			}
			return c.Load(cmd.Context(), args[0], nodes...)
		},
	}
}
