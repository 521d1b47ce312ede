// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// askVersionWithin bounds how long a cluster that does not answer is waited for.
const askVersionWithin = 3 * time.Second

// versions are those of this program and of the cluster, where one answers.
type versions struct {
	Client   string       `json:"client"`
	Protocol int          `json:"protocol"`
	Go       string       `json:"go"`
	Cluster  *api.Version `json:"cluster,omitempty"`
	Problem  string       `json:"problem,omitempty"`
}

func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program and of the cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := newPrinter(cmd)
			v := versions{Client: version, Protocol: cluster.ProtocolVersion, Go: runtime.Version()}
			v.Cluster, v.Problem = clusterVersion(cmd)
			return p.show(v, func() error {
				t := p.table()
				t.row("Flocker:", v.Client)
				t.row("Protocol:", count(v.Protocol))
				t.row("Go:", v.Go)
				if v.Cluster != nil {
					t.row("Cluster:", v.Cluster.Cluster+", Flocker "+v.Cluster.Flocker)
				} else {
					t.row("Cluster:", v.Problem)
				}
				return t.end()
			})
		},
	}
	addConnection(cmd)
	return cmd
}

// clusterVersion is nil, with the reason, where no cluster answers: the program's own version is an answer without it.
func clusterVersion(cmd *cobra.Command) (*api.Version, string) {
	c, err := connect(cmd)
	if err != nil {
		return nil, err.Error()
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), askVersionWithin)
	defer cancel()
	v, err := c.Version(ctx)
	if err != nil {
		return nil, err.Error()
	}
	return &v, ""
}
