// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/devcluster/supervisor"
)

func (d *devCluster) shellCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "shell NODE [-- COMMAND...]",
		Short:   "Open a shell in a node, or run a command on this terminal",
		Example: "  flocker dev shell node1\n  flocker dev shell node1 -- docker ps",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			command := args[1:]
			if len(command) == 0 {
				command = []string{"bash"}
			}
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
				return c.Shell(cmd.Context(), args[0], os.Stdin, command...)
			}
			return devStream(cmd, c, args[0], command)
		},
	}
}

func (d *devCluster) execCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "exec NODE -- COMMAND...",
		Short:   "Run a command in a node without a terminal",
		Example: "  flocker dev exec node1 -- losetup --list",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			return devStream(cmd, c, args[0], args[1:])
		},
	}
}

func devStream(cmd *cobra.Command, c *devcluster.Cluster, node string, command []string) error {
	streams := devcluster.Streams{Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()}
	return c.Stream(cmd.Context(), node, streams, command...)
}

func (d *devCluster) logsCommand() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs NODE [" + strings.Join(children, "|") + "]",
		Short: "Show what a node's processes wrote",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			files := supervisor.LogDir + "/*.log"
			if len(args) == 2 {
				files = supervisor.LogDir + "/" + args[1] + ".log"
			}
			option := ""
			if follow {
				option = "-F"
			}
			streams := devcluster.Streams{Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr()}
			// The file is an argument of the script, so that the shell takes nothing in it but the pattern.
			script := fmt.Sprintf(`tail -n %d %s -- $0`, lines, option)
			return c.Stream(cmd.Context(), args[0], streams, "sh", "-c", script, files)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().IntVarP(&lines, "lines", "n", 200, "how many of the last lines")
	return cmd
}
