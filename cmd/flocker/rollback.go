// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func snapshotRollbackCommand() *cobra.Command {
	var yes, noWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rollback DATASET SNAPSHOT",
		Short: "Make a dataset what it was in a snapshot",
		Long: `Make a dataset what it was in a snapshot. What it is now is kept in a snapshot first, whose name is printed: rolling back to that
undoes it. The applications that use the dataset are stopped for it and started again, to which --yes consents.`,
		Example:           "  flocker snapshot rollback pgdata before-upgrade --yes",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeSnapshots,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			reply, err := c.RollBack(ctx, args[0], api.RollbackRequest{Snapshot: args[1], Stop: yes})
			if errors.Is(err, cluster.ErrConflict) && !yes {
				return fmt.Errorf("%w (--yes)", err)
			}
			if err == nil && !noWait {
				reply, err = awaitRollback(ctx, c, reply, timeout)
			}
			if err != nil {
				return err
			}
			return p.show(reply, func() error {
				is := "is being made"
				if reply.Dataset.Rollback == nil {
					is = "is"
				}
				return p.say("dataset %s %s what it was in snapshot %s; what it was before is kept in snapshot %s", reply.Dataset.Name, is, args[1], reply.Kept.Name)
			})
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "the applications that use it may be stopped meanwhile")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "only ask for it")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait until it is done")
	return cmd
}

// awaitRollback waits until a dataset is what it was to be made.
func awaitRollback(ctx context.Context, c *api.Client, reply api.RollbackReply, timeout time.Duration) (api.RollbackReply, error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	changed := wakes(within, c)
	var pending []api.Pending
	for reply.Dataset.Rollback != nil {
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-within.Done():
			return reply, errors.Join(ctx.Err(), fmt.Errorf("dataset %s was not rolled back within %s%s; it goes on", reply.Dataset.Name, timeout, because(pending)))
		}
		d, err := c.Dataset(within, string(reply.Dataset.ID))
		switch {
		case err == nil:
			reply.Dataset, pending = d.Dataset, d.Pending
			reply.Kept.KeptSnapshot, _ = d.Kept(reply.Kept.ID)
		case !errors.Is(err, cluster.ErrUnavailable) && within.Err() == nil:
			return reply, err
		}
	}
	return reply, nil
}
