// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "Take, list and remove snapshots of datasets, and go back to them"}
	addConnection(cmd)
	cmd.AddCommand(snapshotCreateCommand(), snapshotListCommand(), snapshotRollbackCommand(), snapshotRemoveCommand(), newScheduleCommand())
	return cmd
}

// snapshotCreate are the flags of a snapshot to be taken.
type snapshotCreate struct {
	application     string
	quiesce, noWait bool
	timeout         time.Duration
}

func snapshotCreateCommand() *cobra.Command {
	o := &snapshotCreate{}
	cmd := &cobra.Command{
		Use:   "create {DATASET | --application APPLICATION} [NAME]",
		Short: "Take a snapshot of a dataset, or of all datasets of an application at one instant",
		Long: `Take a snapshot of a dataset while it is used. It holds everything that was written before, as a loss of power would leave it,
from which a database recovers. With --quiesce the hook of each application that runs on it is run first (docs/application-files.md).

With --application all datasets of the application are snapshotted at one instant: it is paused for the milliseconds that takes.

A snapshot stays, and moves along with its dataset, until it is removed.`,
		Example: `  flocker snapshot create pgdata before-upgrade
  flocker snapshot create pgdata --quiesce
  flocker snapshot create --application shop monday`,
		Args:              cobra.RangeArgs(0, 2),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE:              withClient(o.run),
	}
	cmd.Flags().StringVar(&o.application, "application", "", "take one of each of this application's datasets, at one instant")
	cmd.Flags().BoolVar(&o.quiesce, "quiesce", false, "run the applications' hooks first")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "only ask for it")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait until it is taken")
	completeFlag(cmd, "application", applicationNames)
	return cmd
}

func (o *snapshotCreate) run(ctx context.Context, c *api.Client, p printer, args []string) error {
	request := api.SnapshotRequest{ID: cluster.SnapshotID(uuid.NewString()), Application: o.application, Quiesce: o.quiesce}
	var err error
	if request.Dataset, request.Name, err = snapshottedAs(o.application, args); err != nil {
		return err
	}
	infos, err := c.CreateSnapshots(ctx, request)
	if err == nil && !o.noWait {
		infos, err = awaitTaken(ctx, c, infos, o.timeout)
	}
	if err != nil {
		return err
	}
	return p.show(infos, func() error {
		for _, s := range infos {
			if err := p.say("snapshot %s of dataset %s is %s", s.Name, s.DatasetName, s.State); err != nil {
				return err
			}
		}
		return nil
	})
}

// awaitTaken waits until snapshots that were asked for are taken.
func awaitTaken(ctx context.Context, c *api.Client, asked []api.SnapshotInfo, timeout time.Duration) ([]api.SnapshotInfo, error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	changed := wakes(within, c)
	for now := asked; ; {
		waiting := slices.IndexFunc(now, func(s api.SnapshotInfo) bool { return s.State != api.SnapshotTaken })
		if waiting < 0 {
			return now, nil
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-within.Done():
			s := now[waiting]
			return nil, errors.Join(ctx.Err(), fmt.Errorf("snapshot %s of dataset %s was not taken within %s: %s; it stays asked for", s.Name, s.DatasetName, timeout, s.Reason))
		}
		all, err := c.Snapshots(within, "")
		switch {
		case errors.Is(err, cluster.ErrUnavailable) || within.Err() != nil:
			continue // asked again, until the time-out says what it waited for
		case err != nil:
			return nil, err
		}
		now = slices.DeleteFunc(all, func(s api.SnapshotInfo) bool {
			return !slices.ContainsFunc(asked, func(a api.SnapshotInfo) bool { return a.ID == s.ID })
		})
		if len(now) < len(asked) {
			return nil, fmt.Errorf("snapshot %s was removed before it was taken: %w", asked[0].Name, cluster.ErrConflict)
		}
	}
}

func snapshotListCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "ls [DATASET]",
		Short:             "List snapshots, with the nodes that have them and what they cost",
		Example:           "  flocker snapshot ls\n  flocker snapshot ls pgdata",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			dataset := ""
			if len(args) > 0 {
				dataset = args[0]
			}
			all, err := c.Snapshots(ctx, dataset)
			if err != nil {
				return err
			}
			return p.show(all, func() error { return p.snapshots(all) })
		}),
	}
}

func (p printer) snapshots(all []api.SnapshotInfo) error {
	t := p.table("DATASET", "SNAPSHOT", "ID", "TAKEN", "ON", "USED", "STATE")
	for _, s := range all {
		taken, state := "", string(s.State)
		if s.Taken != nil {
			taken = ago(s.Taken.Created)
		}
		if s.Application != "" {
			state += ", with " + s.Application
		}
		if s.Scheduled != nil {
			state += ", by schedule " + s.Scheduled.Name
		}
		if s.Reason != "" {
			state += ": " + s.Reason
		}
		t.row(s.DatasetName, s.Name, short(string(s.ID)), taken, strings.Join(s.Nodes, ", "), bytesOf(s.Used), state)
	}
	return t.end()
}

func snapshotRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm DATASET SNAPSHOT...",
		Short: "Remove snapshots of a dataset, on every node",
		Long: `Remove snapshots of a dataset, on every node. This cannot be undone. A snapshot from which a replica on another node was made keeps its
space until the next move there, so that only what has changed is sent then.`,
		Example:           "  flocker snapshot rm pgdata before-upgrade",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeSnapshots,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			var removed []api.SnapshotInfo
			for _, ref := range args[1:] {
				s, err := c.DeleteSnapshot(ctx, args[0], ref)
				if err != nil {
					return err
				}
				removed = append(removed, s)
				if p.json {
					continue
				}
				if err := p.say("snapshot %s of dataset %s is being removed", s.Name, s.DatasetName); err != nil {
					return err
				}
			}
			return p.show(removed, func() error { return nil })
		}),
	}
}

// completeSnapshots completes a dataset, and then its snapshots.
func completeSnapshots(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return completeArgs(datasetNames)(cmd, args, text)
	}
	return completeEach(func(ctx context.Context, c *api.Client) ([]string, error) {
		all, err := c.Snapshots(ctx, args[0])
		return listOf(all, func(s api.SnapshotInfo) string { return s.Name }), err
	})(cmd, args[1:], text)
}
