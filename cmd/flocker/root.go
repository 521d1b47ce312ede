// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "flocker",
		Short: "Moves stateful containers together with their data between Docker hosts",
		Long: `Flocker moves stateful containers together with their data between Docker hosts.

A control service keeps what the cluster should be; an agent on every node makes it so.`,
		Example: `  flocker init                        make this host a cluster of one
  flocker deploy app.yml deploy.yml   run applications with their data
  flocker move postgres node2         move one of them to another node
  flocker status                      see everything, and what is pending and why`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().Bool("json", false, "print JSON")
	root.PersistentFlags().String("log-level", "info", "least level of log lines on standard error: debug, info, warn or error")
	root.PersistentFlags().Bool("no-color", false, "no colours (also with NO_COLOR set)")
	root.AddGroup(
		&cobra.Group{ID: "use", Title: "Use a cluster:"},
		&cobra.Group{ID: "make", Title: "Make a cluster:"},
		&cobra.Group{ID: "run", Title: "Run its parts:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("use", newDeployCommand(), newMoveCommand(), newMovesCommand(), newStatusCommand(), newAppCommand(),
		newDatasetCommand(), newSnapshotCommand(), newLeaseCommand(), newNodeCommand(), newBackendCommand(), newEventsCommand(), newVersionCommand())
	add("make", newInitCommand(), newTokenCommand(), newJoinCommand(), newLeaveCommand(), newCACommand(), newConfirmRestoreCommand(), newDevCommand())
	add("run", newControlCommand(), newAgentCommand(), newBlockstoreCommand())
	strict(root)
	return root
}

// strict makes every wrong use of a command a usageError, also below commands that only group others.
func strict(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{c, err} })
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = cobra.ArbitraryArgs
		cmd.SuggestionsMinimumDistance = 2
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			err := fmt.Errorf("unknown command %q", args[0])
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				err = fmt.Errorf("%w; did you mean %q?", err, near[0])
			}
			return &usageError{c, err}
		}
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{c, err}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		strict(c)
	}
}

// execute returns the exit code.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := newRootCommand()
	if filepath.Base(os.Args[0]) == "flocker-ca" { // the original's program
		root = newCACommand()
		root.SilenceUsage, root.SilenceErrors = true, true
		strict(root)
	}
	cmd, err := root.ExecuteContextC(ctx)
	return report(os.Stderr, cmd, err)
}
