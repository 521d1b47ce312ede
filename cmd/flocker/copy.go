// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
)

func datasetCopyCommand() *cobra.Command {
	var r api.CopyRequest
	var size string
	var noWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "copy DATASET NAME --backend BACKEND",
		Short: "Make a new dataset of a dataset's files, in another back end",
		Long: `Make a new dataset of a dataset's files, in another back end of the node that has it: to bring data from the nodes' own disks to network
storage, or back, or from one store to another. The files are those of one instant, from a snapshot; what uses the dataset goes on, and what it writes
after that is not in the copy. Owners, modes, access control lists, attributes, times, hard links and holes are kept, and everything is read back and
compared before the copy can be used. It keeps the metadata, and the limit unless --size gives another. In the dataset's own back end "flocker dataset clone" is
the same at once. "flocker dataset inspect NAME" shows how far it is; removing NAME ends it.`,
		Example: `  flocker dataset copy pgdata pgdata-ceph --backend rbd
  flocker dataset copy pgdata archive --backend shared --from-snapshot monday --size 20G --no-wait`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			var err error
			r.Name = args[1]
			if r.Size, err = sizeFlag(size); err != nil {
				return err
			}
			d, err := c.CopyDataset(ctx, args[0], r)
			if err == nil && !noWait {
				d, err = awaitBirth(ctx, c, d, timeout, p.copyProgress())
			}
			if err != nil {
				return err
			}
			return p.show(d, func() error {
				if !d.Born {
					return p.say("dataset %s is being copied to %s in back end %s (%s)", args[0], d.Name, d.Backend, d.ID)
				}
				return p.say("dataset %s is a copy of %s in back end %s (%s)", d.Name, args[0], d.Backend, d.ID)
			})
		}),
	}
	cmd.Flags().StringVar(&r.Backend, "backend", "", "back end that is to hold it, another one of those that the dataset's node has")
	cmd.Flags().StringVar(&r.Snapshot, "from-snapshot", "", "snapshot that it is to be of (default: what the dataset is now)")
	cmd.Flags().StringVar(&r.Node, "node", "", "node that is to have it; only the dataset's own can (default: that)")
	cmd.Flags().StringVar(&size, "size", "", "limit, such as 512M or 10G (default: the dataset's; where it has none and the back end needs one, twice what is in use)")
	cmd.Flags().StringVar(&r.Profile, "profile", "", "how it is to be kept, of the profiles that the back end has (default: the back end's own way)")
	cmd.Flags().StringToStringVar(&r.Metadata, "metadata", nil, "KEY=VALUE pairs kept with it, beside those of the dataset")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "only ask for it")
	cmd.Flags().DurationVar(&timeout, "timeout", 24*time.Hour, "how long to wait until it is whole")
	completeFlag(cmd, "node", nodeNames)
	completeFlag(cmd, "profile", profileNames(&r.Node, &r.Backend))
	return cmd
}

// tellCopy is how often people are told how far a copy is.
const tellCopy = 10 * time.Second

// copyProgress tells people how far a copy is, or what it waits for, now and then.
func (p printer) copyProgress() func(api.DatasetInfo) error {
	last := time.Now()
	return func(d api.DatasetInfo) error {
		if p.json || len(d.Pending) == 0 || time.Since(last) < tellCopy {
			return nil
		}
		last = time.Now()
		return p.say("dataset %s: %s", cmp.Or(d.Name, string(d.ID)), d.Pending[0].Reason)
	}
}
