// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/devcluster"
	"github.com/flocker-project/flocker/devcluster/supervisor"
)

func (d *devCluster) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster's machines and what runs in them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := d.open(cmd.Context())
			if err != nil {
				return err
			}
			return printDevStatus(cmd, c, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printDevStatus(cmd *cobra.Command, c *devcluster.Cluster, asJSON bool) error {
	status, err := c.Status(cmd.Context())
	if err != nil {
		return err
	}
	if asJSON {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(status)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tIPV6 ADDRESS\tSTATE\tLINK\tCUT FROM\tPROCESSES")
	for _, m := range status.Machines {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.Address, orDash(address6(m.Node)), m.State,
			orDash(m.Link), orDash(strings.Join(m.CutFrom, ",")), orDash(processes(m.Children)))
	}
	return w.Flush()
}

// address6 is a machine's IPv6 address; empty where it has none.
func address6(n devcluster.Node) string {
	if !n.Address6.IsValid() {
		return ""
	}
	return n.Address6.String()
}

func processes(children []supervisor.ChildStatus) string {
	var words []string
	for _, child := range children {
		if child.Name == devcluster.ZFSDaemon && child.State == supervisor.Disabled {
			continue // the node has another back end
		}
		word := fmt.Sprintf("%s %s", child.Name, child.State)
		if child.State == supervisor.Waiting && child.LastEnd != "" {
			word += " (" + child.LastEnd + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
