// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (d *devCluster) envCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print the shell commands that point the command line at this cluster",
		Example: `  eval "$(flocker dev env)"
  flocker status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := devConfigDir(d.name)
			if err != nil {
				return err
			}
			config, err := readUserConfig(dir)
			if err != nil {
				return fmt.Errorf("%w; is the cluster up? see flocker dev up", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\nexport %s=%s\n",
				controlVariable, strings.Join(config.Control, ","), certsVariable, config.Certificates)
			return err
		},
	}
}
