// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newDatasetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dataset", Short: "Make, clone, copy, show, move and destroy datasets"}
	addConnection(cmd)
	cmd.AddCommand(datasetCreateCommand(), datasetCloneCommand(), datasetCopyCommand(), datasetListCommand(), datasetInspectCommand(), datasetResizeCommand(),
		datasetMoveCommand(), datasetRemoveCommand())
	return cmd
}

func datasetCreateCommand() *cobra.Command {
	var node, size, profile, end string
	var metadata map[string]string
	var root cluster.Root
	cmd := &cobra.Command{
		Use:   "create NAME --node NODE",
		Short: "Make an empty dataset on a node",
		Example: "  flocker dataset create pgdata --node node1 --size 10G\n  flocker dataset create old-invoices --node node1 --backend archive\n" +
			"  flocker dataset create shop --node node1 --profile gold",
		Args: cobra.ExactArgs(1),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			if node == "" {
				return fmt.Errorf("--node is missing: %w: name the node that is to have the dataset", cluster.ErrInvalid)
			}
			bytes, err := sizeFlag(size)
			if err != nil {
				return err
			}
			d, err := c.CreateDataset(ctx, api.DatasetRequest{Name: args[0], Node: node, Size: bytes, Metadata: metadata, Profile: profile, Backend: end, Root: root})
			if err != nil {
				return err
			}
			return p.show(d, func() error { return p.say("dataset %s is being made (%s)", d.Name, d.ID) })
		}),
	}
	cmd.Flags().StringVar(&node, "node", "", "node that is to have it: name, address, UUID or the beginning of that")
	cmd.Flags().StringVar(&size, "size", "", "limit, such as 512M or 10G (default: none)")
	cmd.Flags().StringVar(&end, "backend", "", "back end that is to hold it, of those that the node has (default: the node's first)")
	cmd.Flags().Uint32Var(&root.UID, "uid", 0, "owner of its folder, by number")
	cmd.Flags().Uint32Var(&root.GID, "gid", 0, "group of its folder, by number")
	cmd.Flags().StringVar(&root.Mode, "mode", "", "mode of its folder, octal (default: 0755)")
	cmd.Flags().StringVar(&profile, "profile", "", "how it is to be kept, of the profiles that the back end has (default: the back end's own way)")
	cmd.Flags().StringToStringVar(&metadata, "metadata", nil, "KEY=VALUE pairs kept with it")
	completeFlag(cmd, "node", nodeNames)
	completeFlag(cmd, "profile", profileNames(&node, &end))
	return cmd
}

func sizeFlag(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	bytes, err := cluster.ParseSize(text)
	if err == nil && bytes == 0 {
		err = fmt.Errorf("%w: it must be above 0", cluster.ErrInvalid)
	}
	if err != nil {
		return 0, fmt.Errorf("--size: %w", err)
	}
	return bytes, nil
}

func datasetListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List datasets",
		Args:  cobra.NoArgs,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
			all, err := c.Datasets(ctx)
			if err != nil {
				return err
			}
			return p.show(all, func() error { return p.datasets(all, nil) })
		}),
	}
}

func datasetInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "inspect DATASET",
		Short:             "Show everything about a dataset, with its copies on every node",
		Example:           "  flocker dataset inspect pgdata",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			d, err := c.Dataset(ctx, args[0])
			if err != nil {
				return err
			}
			return p.show(d, func() error { return p.dataset(d) })
		}),
	}
}

func datasetResizeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resize DATASET SIZE",
		Short: "Change a dataset's limit, or take it away",
		Long: `Change a dataset's limit, or take it away, while it is mounted and written to. On a node's own disks it may become smaller, but
not smaller than what is in use. A volume of network storage grows with the filesystem on it, and never becomes smaller.`,
		Example:           "  flocker dataset resize pgdata 20G\n  flocker dataset resize pgdata none",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			bytes, err := int64(0), error(nil)
			if args[1] != "none" {
				bytes, err = sizeFlag(args[1])
			}
			if err != nil {
				return err
			}
			d, err := c.ChangeDataset(ctx, args[0], api.DatasetChange{Size: &bytes})
			if err != nil {
				return err
			}
			return p.show(d, func() error { return p.say("limit of dataset %s: %s", d.Name, cmp.Or(bytesOf(d.Size), "none")) })
		}),
	}
}

func datasetMoveCommand() *cobra.Command {
	o := &moveCommand{dataset: true}
	cmd := &cobra.Command{
		Use:               "move DATASET NODE",
		Short:             "Move a dataset to another node, with the applications that use it",
		Example:           "  flocker dataset move pgdata node2",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeArgs(datasetNames, nodeNames),
		RunE:              withClient(o.run),
	}
	o.addFlags(cmd)
	return cmd
}

func datasetRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm DATASET...",
		Short: "Destroy datasets on every node, with all their data",
		Long: `Destroy datasets on every node, with all their data. This cannot be undone. A dataset that an application uses is kept;
remove the application first.`,
		Example:           "  flocker dataset rm olddata",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeEach(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			var removed []cluster.Dataset
			for _, ref := range args {
				d, err := c.DeleteDataset(ctx, ref)
				if err != nil {
					return err
				}
				removed = append(removed, d)
				if !p.json {
					err = p.say("dataset %s is being destroyed%s", d.Name, withSnapshots(d))
				}
				if err != nil {
					return err
				}
			}
			return p.show(removed, func() error { return nil })
		}),
	}
}

func withSnapshots(d cluster.Dataset) string {
	if len(d.Snapshots) == 0 {
		return ""
	}
	return fmt.Sprintf(", with its %d snapshots", len(d.Snapshots))
}

func (p printer) datasets(all []api.DatasetInfo, names map[cluster.NodeID]string) error {
	t := p.table("DATASET", "ID", "NODE", "USED", "LIMIT", "COPIES", "USED BY", "STATE")
	for _, d := range all {
		owner, used := names[d.Owner], int64(0)
		replicas := 0
		for _, c := range d.Copies {
			if c.Owner {
				owner, used = c.NodeName, c.Used
			}
			if c.Head || len(c.Snapshots) > 0 {
				replicas++
			}
		}
		if owner == "" {
			owner = short(string(d.Owner))
		}
		t.row(d.Name, short(string(d.ID)), owner, bytesOf(used), bytesOf(d.Size), count(replicas), strings.Join(d.UsedBy, ", "), stateOfDataset(d))
	}
	return t.end()
}

func stateOfDataset(d api.DatasetInfo) string {
	state := "being made"
	switch {
	case d.Deleted:
		state = "being destroyed"
	case d.ByFiles() && !d.Born:
		state = "being copied"
	case d.CopyFor != "":
		state = "source of a copy"
	case d.Path != "":
		state = "mounted"
	case d.Born:
		state = "not mounted"
	}
	if d.Move != "" {
		state += ", moving"
	}
	if len(d.Pending) > 0 {
		state += because(d.Pending[:1])
	}
	return state
}

func (p printer) dataset(d api.DatasetInfo) error {
	t := p.table()
	t.row("Dataset:", d.Name)
	t.row("ID:", string(d.ID))
	t.row("State:", stateOfDataset(d))
	t.row("Path:", d.Path)
	t.row("Limit:", bytesOf(d.Size))
	t.row("Backend:", d.Backend)
	t.row("Profile:", d.Profile)
	t.row("Epoch:", fmt.Sprint(d.Epoch))
	if len(d.Snapshots) > 0 {
		t.row("Snapshots:", fmt.Sprintf("%d; see \"flocker snapshot ls %s\"", len(d.Snapshots), d.Name))
	}
	t.row("Used by:", strings.Join(d.UsedBy, ", "))
	if d.Lease != nil {
		t.row("Held by:", d.Lease.Holder)
	}
	for _, key := range slices.Sorted(maps.Keys(d.Metadata)) {
		t.row("Metadata:", key+"="+d.Metadata[key])
	}
	for _, w := range d.Pending {
		t.row("Pending:", w.Reason)
	}
	if err := t.end(); err != nil || len(d.Copies) == 0 {
		return err
	}
	if err := p.say(""); err != nil {
		return err
	}
	copies := p.table("COPY ON", "ROLE", "USED", "SNAPSHOTS", "NEWEST", "NOTE")
	for _, c := range d.Copies {
		role, newest, note := "replica", "", ""
		if c.Owner {
			role = "owner"
		}
		if n := len(c.Snapshots); n > 0 {
			newest = ago(c.Snapshots[n-1].Created)
		}
		switch {
		case c.Divergent:
			note = "has writes of its own"
		case c.Scratch != "":
			note = "made for move " + short(string(c.Scratch))
		case c.InUse != "":
			note = "held open by " + c.InUse
		}
		copies.row(c.NodeName, role, bytesOf(c.Used), count(len(c.Snapshots)), newest, note)
	}
	return copies.end()
}
