// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show nodes, applications, datasets, and what is pending and why",
		Example: "  flocker status\n  flocker status --json | jq .pending",
		Args:    cobra.NoArgs,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			return p.show(s, func() error { return p.status(s) })
		}),
	}
	addConnection(cmd)
	return cmd
}

func (p printer) status(s api.Status) error {
	parts := []func() error{func() error { return p.nodes(s.Nodes) }}
	if len(s.Applications) > 0 {
		parts = append(parts, func() error { return p.applications(s.Applications) })
	}
	if len(s.Datasets) > 0 {
		parts = append(parts, func() error { return p.datasets(s.Datasets, nodeNamesOf(s.Nodes)) })
	}
	if len(s.Moves) > 0 {
		parts = append(parts, func() error { return p.moves(s.Moves) })
	}
	if s.Unconfirmed {
		parts = append(parts, func() error {
			return p.say("The state was restored from a backup. Nothing is changed until that is confirmed; see docs/cli.md.")
		})
	}
	if slices.ContainsFunc(s.Applications, func(a api.ApplicationInfo) bool { return len(a.Warnings) > 0 }) {
		parts = append(parts, func() error { return p.warnings(s.Applications) })
	}
	parts = append(parts, func() error { return p.pending(s.Pending) })
	for i, part := range parts {
		if i > 0 {
			if err := p.say(""); err != nil {
				return err
			}
		}
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (p printer) pending(all []api.Pending) error {
	if len(all) == 0 {
		return p.say("Nothing is pending.")
	}
	t := p.table("PENDING", "NODE", "WHY", "TRIES", "SINCE")
	for _, w := range all {
		t.row(kindOfObject(w.Object)+" "+w.Name, w.Node, w.Reason, count(w.Failures), ago(w.Since))
	}
	return t.end()
}

// warnings are what somebody should look at; nothing waits for it.
func (p printer) warnings(all []api.ApplicationInfo) error {
	t := p.table("APPLICATION", "WARNING")
	for _, a := range all {
		for _, w := range a.Warnings {
			t.row(a.Name, w)
		}
	}
	return t.end()
}

// kindOfObject is the first word of "dataset/<id>".
func kindOfObject(object string) string {
	kind, _, _ := strings.Cut(object, "/")
	return kind
}

func (p printer) nodes(all []api.NodeInfo) error {
	t := p.table("NODE", "ADDRESS", "CLUSTER ADDRESS", "STATE", "STORAGE", "FREE", "APPLICATIONS", "DATASETS", "REPLICAS", "VERSION")
	for _, n := range all {
		t.row(n.Name, n.Address, n.ClusterAddress, stateOfNode(n), storagesOf(n), freeOf(n.Storage),
			count(len(n.Applications)), count(n.Datasets), count(n.Replicas), n.Version)
	}
	return t.end()
}

func stateOfNode(n api.NodeInfo) string {
	switch {
	case n.Fence != nil:
		return "fenced"
	case n.IsAlive:
		return "alive"
	case n.Silent > 0:
		return "not heard for " + n.Silent.Std().Round(time.Second).String()
	}
	return "not alive"
}

func storagesOf(n api.NodeInfo) string {
	var words []string
	for _, s := range n.Storages() {
		word := s.Backend
		if s.Error != "" {
			word = strings.TrimSpace(word + " unusable: " + s.Error)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func freeOf(s cluster.Storage) string {
	if s.Total <= 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s", cluster.FormatSize(s.Free), cluster.FormatSize(s.Total))
}

func nodeNamesOf(nodes []api.NodeInfo) map[cluster.NodeID]string {
	names := map[cluster.NodeID]string{}
	for _, n := range nodes {
		names[n.ID] = n.Name
	}
	return names
}
