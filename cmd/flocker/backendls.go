// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend/all"
	"github.com/flocker-project/flocker/cluster"
)

func backendListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the kinds of storage, what each can, and which nodes use it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kinds, err := all.Kinds(cmd.Context())
			if err != nil {
				return err
			}
			nodes, err := nodesIfAny(cmd)
			if err != nil {
				return err
			}
			p, list := newPrinter(cmd), usedBy(kinds, nodes)
			return p.show(list, func() error { return p.kinds(list) })
		},
	}
	addConnection(cmd)
	return cmd
}

// nodesIfAny are the cluster's nodes; none where this user knows no cluster.
func nodesIfAny(cmd *cobra.Command) ([]api.NodeInfo, error) {
	c, err := connect(cmd)
	if errors.Is(err, errNoCluster) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Nodes(cmd.Context())
}

// usedKind is a kind of storage with the nodes that use it.
type usedKind struct {
	all.Kind
	Nodes []string `json:"nodes"`
	// Profiles are those that any of the nodes has.
	Profiles []string `json:"profiles,omitempty"`
}

// usedBy adds kinds that only nodes know, of another version of the program.
func usedBy(kinds []all.Kind, nodes []api.NodeInfo) []usedKind {
	var list []usedKind
	for _, k := range kinds {
		list = append(list, usedKind{Kind: k, Nodes: []string{}})
	}
	for _, n := range nodes {
		for _, on := range n.Storages() {
			if on.Backend == "" {
				continue // nothing was heard from it yet
			}
			name, where := on.Driver(), n.Name
			if on.Kind != "" {
				where += " (as " + on.Backend + ")"
			}
			i := slices.IndexFunc(list, func(k usedKind) bool { return k.Name == name })
			if i < 0 {
				i = len(list)
				list = append(list, usedKind{Kind: all.Kind{Name: name, About: "not known to this program", Capabilities: on.Capabilities}})
			}
			list[i].Nodes = append(list[i].Nodes, where)
			for _, p := range on.Profiles {
				if !slices.Contains(list[i].Profiles, p.Name) {
					list[i].Profiles = append(list[i].Profiles, p.Name)
				}
			}
		}
	}
	return list
}

func (p printer) kinds(list []usedKind) error {
	t := p.table("BACKEND", "MOVES", "SNAPSHOTS", "RESIZES", "FENCES", "NODES", "PROFILES", "WHAT IT IS")
	for _, k := range list {
		can := k.Capabilities
		t.row(k.Name, movesBy(can), snapshotsOf(can), yes(can.Resizes, k.Varies), yes(can.Fences, k.Varies), strings.Join(k.Nodes, " "), strings.Join(k.Profiles, " "), k.About)
	}
	return t.end()
}

func movesBy(can cluster.Capabilities) string {
	switch {
	case can.Attaches:
		return "attach elsewhere"
	case can.Replicates:
		return "copy"
	}
	return ""
}

// snapshotsOf is whether there are snapshots, or why there are none.
func snapshotsOf(can cluster.Capabilities) string {
	if why := can.NoSnapshots; why != "" {
		return why
	}
	return yes(can.Snapshots, false)
}

func yes(can, varies bool) string {
	switch {
	case can:
		return "yes"
	case varies:
		return "as the driver says"
	}
	return "no"
}

func backendInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "inspect NODE|BACKEND",
		Short:   "Show a node's storage, or a kind of storage with its options",
		Example: "  flocker backend inspect node1\n  flocker backend inspect loopback",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kinds, err := all.Kinds(cmd.Context())
			if err != nil {
				return err
			}
			p := newPrinter(cmd)
			if k, ok := kindNamed(kinds, args[0]); ok {
				return p.show(k, func() error { return p.kind(k) })
			}
			nodes, err := nodesIfAny(cmd)
			if err != nil {
				return err
			}
			n, err := nodeNamed(nodes, args[0])
			if err != nil {
				return fmt.Errorf("%w; the kinds of storage are %s", err, strings.Join(all.Names(), ", "))
			}
			return p.show(n.Storages(), func() error { return p.storageOn(n, kinds) })
		},
		ValidArgsFunction: completeArgs(func(ctx context.Context, c *api.Client) ([]string, error) {
			found, err := nodeNames(ctx, c)
			return append(found, all.Names()...), err
		}),
	}
	addConnection(cmd)
	return cmd
}

func kindNamed(kinds []all.Kind, name string) (all.Kind, bool) {
	i := slices.IndexFunc(kinds, func(k all.Kind) bool { return k.Name == name })
	if i < 0 {
		return all.Kind{}, false
	}
	return kinds[i], true
}

// nodeNamed finds a node as the control service does: by name, address, UUID or the beginning of that.
func nodeNamed(nodes []api.NodeInfo, ref string) (api.NodeInfo, error) {
	found := slices.DeleteFunc(slices.Clone(nodes), func(n api.NodeInfo) bool {
		return n.Name != ref && n.Address != ref && (len(ref) < 4 || !strings.HasPrefix(string(n.ID), strings.ToLower(ref)))
	})
	switch len(found) {
	case 0:
		return api.NodeInfo{}, fmt.Errorf("node %q: %w", ref, cluster.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return api.NodeInfo{}, fmt.Errorf("node %q is ambiguous: %w", ref, cluster.ErrInvalid)
}

func (p printer) kind(k all.Kind) error {
	t := p.table()
	t.row("Backend:", k.Name)
	t.row("What it is:", k.About)
	capabilityRows(t, k.Capabilities, k.Varies)
	t.row("Page:", "docs/backends/"+k.Name+".md")
	if err := errors.Join(t.end(), p.say("")); err != nil {
		return err
	}
	options := p.table("OPTION", "DEFAULT", "MEANING")
	for _, o := range k.Options {
		options.row(o.Name, o.Default, o.About)
	}
	if err := options.end(); err != nil || len(k.ProfileOptions) == 0 {
		return err
	}
	if err := p.say(""); err != nil {
		return err
	}
	chosen := p.table("OF A PROFILE", "MEANING")
	for _, o := range k.ProfileOptions {
		chosen.row(o.Name, o.About)
	}
	return chosen.end()
}

func capabilityRows(t table, can cluster.Capabilities, varies bool) {
	t.row("Moves:", movesBy(can))
	t.row("Snapshots:", snapshotsOf(can))
	t.row("Resizes:", yes(can.Resizes, varies))
	t.row("Fences:", yes(can.Fences, varies))
}

func (p printer) storageOn(n api.NodeInfo, kinds []all.Kind) error {
	t := p.table()
	t.row("Node:", n.Name)
	t.row("State:", stateOfNode(n))
	for _, on := range n.Storages() {
		t.row("Backend:", on.Backend)
		if k, ok := kindNamed(kinds, on.Driver()); ok {
			t.row("What it is:", k.About)
		}
		if on.Machine != "" {
			t.row("Name in the store:", on.Machine)
		}
		t.row("Free:", freeOf(on))
		capabilityRows(t, on.Capabilities, false)
		for _, profile := range on.Profiles {
			t.row("Profile:", profile.String())
		}
		if on.Error != "" {
			t.row("Unusable:", on.Error)
		}
	}
	return t.end()
}
