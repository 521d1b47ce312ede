// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
)

// completeWithin bounds how long a shell waits for names.
const completeWithin = 2 * time.Second

// names are what an argument may be, from the cluster, with a word of description after a tab.
type names func(context.Context, *api.Client) ([]string, error)

// completeArgs completes each argument with names of its own.
func completeArgs(each ...names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return namesFrom(cmd, each[len(args)])
	}
}

// completeEach completes any number of arguments, each with a name that is not there yet.
func completeEach(all names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		found, directive := namesFrom(cmd, all)
		return slices.DeleteFunc(found, func(name string) bool { return slices.Contains(args, name) }), directive
	}
}

func completeFlag(cmd *cobra.Command, flag string, all names) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return namesFrom(cmd, all)
	})
	cobra.CheckErr(err) // only a flag that does not exist makes one
}

// namesFrom asks the cluster; one that does not answer in time completes nothing.
func namesFrom(cmd *cobra.Command, all names) ([]string, cobra.ShellCompDirective) {
	c, err := connect(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	found, err := all(ctx, c)
	if err != nil {
		cobra.CompDebugln(err.Error(), false)
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func yamlFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yml", "yaml", "json"}, cobra.ShellCompDirectiveFilterFileExt
}

func applicationNames(ctx context.Context, c *api.Client) ([]string, error) {
	all, err := c.Applications(ctx)
	return listOf(all, func(a api.ApplicationInfo) string { return a.Name + "\ton " + a.NodeName }), err
}

func datasetNames(ctx context.Context, c *api.Client) ([]string, error) {
	all, err := c.Datasets(ctx)
	return listOf(all, func(d api.DatasetInfo) string { return d.Name }), err
}

func nodeNames(ctx context.Context, c *api.Client) ([]string, error) {
	all, err := c.Nodes(ctx)
	return listOf(all, func(n api.NodeInfo) string { return n.Name + "\t" + n.Address }), err
}

// profileNames are those of the back ends that are named on the command line already, each with what it stands for.
func profileNames(node, end *string) names {
	return func(ctx context.Context, c *api.Client) ([]string, error) {
		all, err := c.Nodes(ctx)
		var found []string
		for _, n := range all {
			if _, err := nodeNamed([]api.NodeInfo{n}, *node); *node != "" && err != nil {
				continue
			}
			for i, on := range n.Storages() {
				if *end != "" && on.Backend != *end || *end == "" && i > 0 { // without a choice it is the first
					continue
				}
				for _, p := range on.Profiles {
					found = append(found, p.Name+"\t"+p.String())
				}
			}
		}
		slices.Sort(found)
		return slices.Compact(found), err
	}
}

func moveNames(ctx context.Context, c *api.Client) ([]string, error) {
	all, err := c.Moves(ctx)
	return listOf(all, func(m api.MoveInfo) string {
		return short(string(m.ID)) + "\t" + moved(m) + " to " + m.TargetName + ", " + stateOfMove(m)
	}), err
}

func listOf[T any](all []T, text func(T) string) []string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = text(v)
	}
	return texts
}
