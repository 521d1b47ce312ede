// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
)

func newConfirmRestoreCommand() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "confirm-restore --i-have-compared",
		Short: "Let agents act on a state that was restored from a backup",
		Long: `Let agents act on a state that was restored from a backup. Until then they only report. What the backup does not know of,
such as a move made after it, shows in "flocker status" as data that is newer than the store says: compare first.`,
		Args: cobra.NoArgs,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
			s, err := c.ConfirmRestore(ctx)
			if err != nil {
				return err
			}
			return p.show(s, func() error { return p.say("Confirmed; agents act on the state at revision %d.", s.Revision) })
		}),
	}
	cmd.Flags().BoolVar(&sure, "i-have-compared", false, "what the nodes hold was compared with what the state says")
	if err := cmd.MarkFlagRequired("i-have-compared"); err != nil {
		panic(err) // the flag is defined just above
	}
	addConnection(cmd)
	return cmd
}
