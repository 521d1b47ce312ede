// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newLeaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lease",
		Short: "Hold datasets where they are",
		Long: `Hold datasets where they are: a leased dataset is not moved, rolled back or removed, and taken over from a lost node only after
that was fenced. Docker's containers with a Flocker volume hold it by themselves, under the name docker.`,
	}
	addConnection(cmd)
	cmd.AddCommand(leaseListCommand(), leaseCreateCommand(), leaseRemoveCommand())
	return cmd
}

func leaseListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List leases",
		Args:  cobra.NoArgs,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
			all, err := c.Leases(ctx)
			if err != nil {
				return err
			}
			return p.show(all, func() error { return p.leases(ctx, c, all) })
		}),
	}
}

func (p printer) leases(ctx context.Context, c *api.Client, all []cluster.Lease) error {
	sets, err := c.Datasets(ctx)
	if err != nil {
		return err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	named := map[string]string{}
	for _, d := range sets {
		named[string(d.ID)] = d.Name
	}
	for _, n := range nodes {
		named[string(n.ID)] = n.Name
	}
	t := p.table("DATASET", "NODE", "HOLDER")
	for _, l := range all {
		t.row(named[string(l.Dataset)], named[string(l.Node)], l.Holder)
	}
	return t.end()
}

func leaseCreateCommand() *cobra.Command {
	var r api.LeaseRequest
	cmd := &cobra.Command{
		Use:               "create DATASET --holder NAME [--node NODE]",
		Short:             "Hold a dataset on its node until it is let go of",
		Long:              "Hold a dataset on its node until it is let go of. With --node it is refused where another node has the dataset.",
		Example:           "  flocker lease create pgdata --holder \"backup of tonight\"",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			if r.Holder == "" {
				return fmt.Errorf("lease dataset %s: %w: say with --holder who holds it", args[0], cluster.ErrInvalid)
			}
			d, err := c.Dataset(ctx, args[0])
			if err != nil {
				return err
			}
			if r.Dataset = string(d.ID); r.Node == "" {
				r.Node = string(d.Owner)
			}
			lease, err := c.AcquireLease(ctx, r)
			if err != nil {
				return err
			}
			return p.line(lease, "dataset "+d.Name+" is held by "+lease.Holder)
		}),
	}
	cmd.Flags().StringVar(&r.Holder, "holder", "", "who holds it, as it is named to those who are refused")
	cmd.Flags().StringVar(&r.Node, "node", "", "the node that has it (default: whichever has)")
	completeFlag(cmd, "node", nodeNames)
	return cmd
}

func leaseRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm DATASET",
		Short: "Let go of a dataset, whoever holds it",
		Long: `Let go of a dataset, whoever holds it; one that nobody holds is no error. Containers that use it are not looked at here: a move
still finds them, and is refused.`,
		Example:           "  flocker lease rm pgdata",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(leasedNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			lease, err := c.ReleaseLease(ctx, args[0])
			if err != nil {
				return err
			}
			if lease.Holder == "" {
				return p.line(lease, "nobody holds dataset "+args[0])
			}
			return p.line(lease, "dataset "+args[0]+" is not held by "+lease.Holder+" any more")
		}),
	}
}

// leasedNames are the datasets that somebody holds, each with who does.
func leasedNames(ctx context.Context, c *api.Client) ([]string, error) {
	all, err := c.Datasets(ctx)
	var found []string
	for _, d := range all {
		if d.Lease != nil {
			found = append(found, d.Name+"\t"+d.Lease.Holder)
		}
	}
	return found, err
}
