// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
)

func (d *devCluster) partitionCommand() *cobra.Command {
	var from []string
	cmd := &cobra.Command{
		Use:     "partition NODE",
		Short:   "Cut a node off from the others; this machine reaches it still",
		Example: "  flocker dev partition node1\n  flocker dev partition node1 --from node2,control",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			return c.Partition(cmd.Context(), args[0], from...)
		},
	}
	cmd.Flags().StringSliceVar(&from, "from", nil, "cut it off from these only")
	return cmd
}

func (d *devCluster) healCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "heal",
		Short: "End every partition",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			return c.Heal(cmd.Context())
		},
	}
}

func (d *devCluster) linkCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "link RATE",
		Short:   "Shape the link of every node, or stop shaping",
		Example: "  flocker dev link 1gbit\n  flocker dev link none",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			rate := args[0]
			if rate == "none" {
				rate = ""
			}
			return c.Link(cmd.Context(), rate)
		},
	}
}
