// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/devcluster/supervisor"
)

// devInitCommand is process 1 of a node; it runs nowhere else.
func devInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "init",
		Short:  "Run a node's supervisor",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervisor.Run(cmd.Context(), slog.New(slog.NewTextHandler(os.Stdout, nil)))
		},
	}
}

// devNetworkCommand runs inside a node after its network settings have changed.
func devNetworkCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "apply-network",
		Short:  "Apply a node's network settings",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return supervisor.ApplyNetwork(cmd.Context())
		},
	}
}
