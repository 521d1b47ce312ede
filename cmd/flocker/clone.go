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

func datasetCloneCommand() *cobra.Command {
	var r api.CloneRequest
	var noWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "clone DATASET NAME",
		Short: "Make a new dataset of a dataset's content, or of what it was in a snapshot",
		Long: `Make a new dataset of a dataset's content, or of what it was in a snapshot. It is there at once, shares on disk what neither of them
changes, and depends on nothing. It keeps the limit and the metadata, and is made on a node that has the snapshot: the dataset's own, unless
--node names another. On network storage that may be any. For clones of several datasets of one application at one instant, take a snapshot with --application and clone each from it.`,
		Example: `  flocker dataset clone pgdata pgtest
  flocker dataset clone pgdata pgtest --from-snapshot monday --node node2`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			r.Name = args[1]
			d, err := c.CloneDataset(ctx, args[0], r)
			if err == nil && !noWait {
				d, err = awaitBirth(ctx, c, d, timeout, func(api.DatasetInfo) error { return nil })
			}
			if err != nil {
				return err
			}
			return p.show(d, func() error {
				is := "is being made"
				if d.Born {
					is = "is"
				}
				return p.say("dataset %s %s a clone of %s (%s)", d.Name, is, args[0], d.ID)
			})
		}),
	}
	cmd.Flags().StringVar(&r.Snapshot, "from-snapshot", "", "snapshot that it begins with (default: what the dataset is now)")
	cmd.Flags().StringVar(&r.Node, "node", "", "node that has the snapshot and is to have the clone (default: the dataset's)")
	cmd.Flags().StringToStringVar(&r.Metadata, "metadata", nil, "KEY=VALUE pairs kept with it, beside those of the dataset")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "only ask for it")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait until it is made")
	completeFlag(cmd, "node", nodeNames)
	return cmd
}

// awaitBirth waits until a dataset's first copy is there, and tells of what it finds until then.
func awaitBirth(ctx context.Context, c *api.Client, made cluster.Dataset, timeout time.Duration, tell func(api.DatasetInfo) error) (cluster.Dataset, error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	changed := wakes(within, c)
	for {
		d, err := c.Dataset(within, string(made.ID))
		switch {
		case err == nil && d.Born:
			return d.Dataset, nil
		case err == nil && d.Deleted:
			return made, fmt.Errorf("dataset %s was removed before it was made: %w", made.Name, cluster.ErrConflict)
		case err != nil && !errors.Is(err, cluster.ErrUnavailable) && within.Err() == nil:
			return made, err
		case err == nil:
			if err := tell(d); err != nil {
				return made, err
			}
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-within.Done():
			return made, errors.Join(ctx.Err(), fmt.Errorf("dataset %s was not made within %s%s; it stays asked for", made.Name, timeout, because(d.Pending)))
		}
	}
}
