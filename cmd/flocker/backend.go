// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/spf13/cobra"

func newBackendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backend",
		Short: "Show what storage there is and what it lacks, and test a driver",
		Example: `  flocker backend ls                           the kinds of storage, what each can, and which nodes use it
  flocker backend inspect node1                what a node's storage is and can
  flocker backend check                        what is missing on the nodes, and the remedy
  flocker backend test /run/my-driver.sock     try a storage driver of your own`,
	}
	cmd.AddCommand(backendListCommand(), backendInspectCommand(), backendCheckCommand(), backendTestCommand())
	return cmd
}
