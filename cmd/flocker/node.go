// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newNodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Show nodes, and say what became of lost ones"}
	addConnection(cmd)
	cmd.AddCommand(nodeListCommand(), nodeFenceCommand(), nodeFailOverCommand(), nodeRemoveCommand())
	return cmd
}

func nodeListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List nodes",
		Args:  cobra.NoArgs,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
			all, err := c.Nodes(ctx)
			if err != nil {
				return err
			}
			return p.show(all, func() error { return p.nodes(all) })
		}),
	}
}

func nodeFenceCommand() *cobra.Command {
	var isOff bool
	cmd := &cobra.Command{
		Use:   "fence NODE --yes-it-is-off",
		Short: "Testify that a node is switched off, so that its data may be taken over",
		Long: `Testify that a node is switched off, so that moves that wait for it can end and its data may be taken over elsewhere.

Look at the machine, not at the network: a node that still runs and is only cut off goes on writing, and what its clients
were answered would be lost. Switch it off first. Its agent takes part again after it was started anew.`,
		Example:           "  flocker node fence node2 --yes-it-is-off",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(nodeNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			if !isOff {
				return fmt.Errorf("node %s: %w: say with --yes-it-is-off that you have seen that the machine is switched off", args[0], cluster.ErrInvalid)
			}
			reply, err := c.FenceNode(ctx, args[0])
			if err != nil {
				return err
			}
			return p.show(reply, func() error {
				for _, m := range reply.Moves {
					if err := p.say("move %s is %s", short(string(m.ID)), m.Phase); err != nil {
						return err
					}
				}
				return p.say("node %s is fenced; see \"flocker node fail-over --help\" for taking its data over", reply.Node.Name)
			})
		}),
	}
	cmd.Flags().BoolVar(&isOff, "yes-it-is-off", false, "you have seen that the machine is switched off")
	return cmd
}

func nodeFailOverCommand() *cobra.Command {
	var to, dataset string
	var loss time.Duration
	cmd := &cobra.Command{
		Use:   "fail-over APPLICATION --to NODE [--max-loss TIME]",
		Short: "Run an application of a lost node on another",
		Long: `Run an application of a fenced node on another, with its volumes of network storage, or from a replica of its data. What was
written after a replica was made is lost, so that this needs your consent: it is refused where the replica is older than
--max-loss. Of network storage nothing is lost.

Storage that itself keeps a node out, as nbd does, needs no fence: it is enough that the node is not heard. Should it live, its
application goes on there without its data until the node is heard again: it can write nothing, but may answer what it remembers.`,
		Example: `  flocker node fail-over postgres --to node3 --max-loss 10m
  flocker node fail-over --dataset olddata --to node3 --max-loss 1h
  flocker node fail-over shop --to node3`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeArgs(applicationNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			request := api.FailOverRequest{Dataset: dataset, Node: to, MaxLoss: cluster.Duration(loss)}
			if len(args) == 1 {
				request.Application = args[0]
			}
			if to == "" || loss < 0 || (request.Application == "") == (dataset == "") {
				return fmt.Errorf("fail-over: %w: give an application or --dataset, and --to; --max-loss is not negative", cluster.ErrInvalid)
			}
			reply, err := c.FailOver(ctx, request)
			if err != nil {
				return err
			}
			return p.show(reply, func() error { return p.failedOver(reply, to) })
		}),
	}
	cmd.Flags().StringVar(&to, "to", "", "node with a replica, or with the same network storage")
	cmd.Flags().StringVar(&dataset, "dataset", "", "a dataset by name or UUID, in place of an application")
	cmd.Flags().DurationVar(&loss, "max-loss", 0, "the writes of at most so long may be lost")
	completeFlag(cmd, "to", nodeNames)
	completeFlag(cmd, "dataset", datasetNames)
	return cmd
}

func (p printer) failedOver(reply api.FailOverReply, to string) error {
	t := p.table("DATASET", "FROM", "LOSS UP TO")
	for id, d := range reply.Datasets {
		from := d.Snapshot
		if from == "" {
			from = "its volume"
		}
		t.row(string(id), from, d.Loss.String())
	}
	if err := t.end(); err != nil {
		return err
	}
	return p.say("They belong to %s now.", to)
}

func nodeRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "rm NODE",
		Short:             "Forget a node that is gone and owns nothing",
		Example:           "  flocker node rm node2",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(nodeNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			if err := c.ForgetNode(ctx, args[0]); err != nil {
				return err
			}
			return p.show(map[string]string{"forgotten": args[0]}, func() error { return p.say("node %s is forgotten", args[0]) })
		}),
	}
}
