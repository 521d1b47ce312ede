// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func newScheduleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedule",
		Short: "Take snapshots at regular times, and keep some of them",
		Long: `Take snapshots of a dataset, or of all datasets of an application at one instant, at regular times, and keep some of them.

A schedule removes only snapshots that it has made itself; never the newest, nor one that a clone is being made from or that a
rollback names. Times that were missed, because nothing could be taken then, are made up for by one snapshot.`,
	}
	cmd.AddCommand(scheduleCreateCommand(), scheduleListCommand(), scheduleChangeCommand(), schedulePauseCommand(), scheduleResumeCommand(), scheduleRemoveCommand())
	return cmd
}

// scheduleFlags say when snapshots are taken, how, and which are kept.
type scheduleFlags struct {
	every   string
	quiesce bool
	keep    cluster.Retention
}

func (o *scheduleFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.every, "every", "", "hourly, daily, weekly (Mondays), monthly, or a duration from 1m on such as 15m; all of UTC")
	f.BoolVar(&o.quiesce, "quiesce", false, "run the applications' hooks first")
	f.IntVar(&o.keep.Last, "keep-last", 0, "keep the `N` newest")
	f.IntVar(&o.keep.Hourly, "keep-hourly", 0, "keep the newest of each of the last `N` hours that have any")
	f.IntVar(&o.keep.Daily, "keep-daily", 0, "keep the newest of each of the last `N` days that have any")
	f.IntVar(&o.keep.Weekly, "keep-weekly", 0, "keep the newest of each of the last `N` weeks that have any")
	f.IntVar(&o.keep.Monthly, "keep-monthly", 0, "keep the newest of each of the last `N` months that have any")
	completeFlag(cmd, "every", func(context.Context, *api.Client) ([]string, error) {
		return []string{string(cluster.Hourly), string(cluster.Daily), string(cluster.Weekly), string(cluster.Monthly)}, nil
	})
}

// keeps says whether any rule of what to keep is given.
func keeps(cmd *cobra.Command) bool {
	return slices.ContainsFunc([]string{"keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly"}, cmd.Flags().Changed)
}

func scheduleCreateCommand() *cobra.Command {
	var o scheduleFlags
	var application string
	var paused bool
	cmd := &cobra.Command{
		Use:   "create {DATASET | --application APPLICATION} [NAME] --every TIME --keep-... N",
		Short: "Take snapshots of a dataset or an application at regular times",
		Long: `Take snapshots of a dataset, or of all datasets of an application at one instant, at regular times. The first is taken when TIME comes
next. What one of the --keep rules keeps is kept; at least one is needed. Without a NAME it is made of TIME.`,
		Example: `  flocker snapshot schedule create pgdata --every hourly --keep-hourly 24 --keep-daily 7
  flocker snapshot schedule create pgdata often --every 10m --keep-last 6
  flocker snapshot schedule create --application shop --every daily --quiesce --keep-daily 14 --keep-monthly 6`,
		Args:              cobra.RangeArgs(0, 2),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			request := api.ScheduleRequest{
				ID: cluster.ScheduleID(uuid.NewString()), Application: application,
				Every: cluster.Every(o.every), Quiesce: o.quiesce, Keep: o.keep, Paused: paused,
			}
			var err error
			if request.Dataset, request.Name, err = snapshottedAs(application, args); err != nil {
				return err
			}
			x, err := c.CreateSchedule(ctx, request)
			if err != nil {
				return err
			}
			return p.show(x, func() error { return p.say("schedule %s of %s: %s", x.Name, x.Of(), nextOf(x)) })
		}),
	}
	o.add(cmd)
	cmd.Flags().StringVar(&application, "application", "", "all of this application's datasets, at one instant")
	cmd.Flags().BoolVar(&paused, "paused", false, "begin only when it is resumed")
	completeFlag(cmd, "application", applicationNames)
	return cmd
}

// snapshotted takes the dataset from the arguments, where no application is named.
func snapshotted(application string, args []string) (dataset string, rest []string, err error) {
	switch {
	case application != "":
		return "", args, nil
	case len(args) == 0:
		return "", nil, fmt.Errorf("%w: name a dataset, or an application with --application", cluster.ErrInvalid)
	}
	return args[0], args[1:], nil
}

// snapshottedAs takes the dataset from the arguments, where no application is named, and the name of what is made, where there is one.
func snapshottedAs(application string, args []string) (dataset, name string, err error) {
	dataset, rest, err := snapshotted(application, args)
	switch {
	case err != nil || len(rest) == 0:
		return dataset, "", err
	case len(rest) > 1:
		return "", "", fmt.Errorf("%w: with --application only a name is given", cluster.ErrInvalid)
	}
	return dataset, rest[0], nil
}

func scheduleListCommand() *cobra.Command {
	var application string
	cmd := &cobra.Command{
		Use:   "ls [DATASET]",
		Short: "List schedules, with what they keep, when they are due next and what they wait for",
		Example: `  flocker snapshot schedule ls
  flocker snapshot schedule ls pgdata
  flocker snapshot schedule ls --application shop`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeArgs(datasetNames),
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
			dataset := ""
			if len(args) > 0 {
				dataset = args[0]
			}
			all, err := schedulesOf(ctx, c, dataset, application)
			if err != nil {
				return err
			}
			return p.show(all, func() error { return p.schedules(all) })
		}),
	}
	cmd.Flags().StringVar(&application, "application", "", "only those of this application")
	completeFlag(cmd, "application", applicationNames)
	return cmd
}

func scheduleChangeCommand() *cobra.Command {
	var o scheduleFlags
	cmd := eachSchedule("change", "Change when a schedule is due, and what it keeps",
		`Change when a schedule is due, and what it keeps. The --keep rules that are given replace all former ones; what they do not keep is
removed at once.`,
		`  flocker snapshot schedule change pgdata hourly --keep-hourly 48 --keep-daily 30
  flocker snapshot schedule change --application shop daily --every weekly`,
		"changed", func(ctx context.Context, cmd *cobra.Command, c *api.Client, x api.ScheduleInfo) (api.ScheduleInfo, error) {
			var change api.ScheduleChange
			every := cluster.Every(o.every)
			if cmd.Flags().Changed("every") {
				change.Every = &every
			}
			if cmd.Flags().Changed("quiesce") {
				change.Quiesce = &o.quiesce
			}
			if keeps(cmd) {
				change.Keep = &o.keep
			}
			if change == (api.ScheduleChange{}) {
				return x, fmt.Errorf("%w: say what to change: --every, --quiesce or what to keep", cluster.ErrInvalid)
			}
			return c.ChangeSchedule(ctx, x.ID, change)
		})
	o.add(cmd)
	return cmd
}

func schedulePauseCommand() *cobra.Command {
	return eachSchedule("pause", "Take and remove nothing until a schedule is resumed", "", "  flocker snapshot schedule pause pgdata hourly",
		"paused", func(ctx context.Context, _ *cobra.Command, c *api.Client, x api.ScheduleInfo) (api.ScheduleInfo, error) {
			yes := true
			return c.ChangeSchedule(ctx, x.ID, api.ScheduleChange{Paused: &yes})
		})
}

func scheduleResumeCommand() *cobra.Command {
	return eachSchedule("resume", "Go on with a schedule that was paused, from the next time on", "", "  flocker snapshot schedule resume pgdata hourly",
		"resumed", func(ctx context.Context, _ *cobra.Command, c *api.Client, x api.ScheduleInfo) (api.ScheduleInfo, error) {
			no := false
			return c.ChangeSchedule(ctx, x.ID, api.ScheduleChange{Paused: &no})
		})
}

func scheduleRemoveCommand() *cobra.Command {
	return eachSchedule("rm", "Remove schedules; the snapshots that they have made stay",
		`Remove schedules. The snapshots that they have made stay until they are removed by "flocker snapshot rm".`,
		"  flocker snapshot schedule rm pgdata hourly\n  flocker snapshot schedule rm --application shop daily",
		"removed", func(ctx context.Context, _ *cobra.Command, c *api.Client, x api.ScheduleInfo) (api.ScheduleInfo, error) {
			return c.DeleteSchedule(ctx, x.ID)
		})
}

// eachSchedule makes a command that does something with schedules which are named.
func eachSchedule(name, short, long, example, done string, do func(context.Context, *cobra.Command, *api.Client, api.ScheduleInfo) (api.ScheduleInfo, error)) *cobra.Command {
	var application string
	cmd := &cobra.Command{
		Use: name + " {DATASET | --application APPLICATION} SCHEDULE...", Short: short, Long: long, Example: example,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: completeSchedules(&application),
	}
	cmd.RunE = withClient(func(ctx context.Context, c *api.Client, p printer, args []string) error {
		named, err := namedSchedules(ctx, c, application, args)
		if err != nil {
			return err
		}
		for i, x := range named {
			if named[i], err = do(ctx, cmd, c, x); err != nil {
				return err
			}
			if p.json {
				continue
			}
			if err := p.say("schedule %s of %s is %s", x.Name, x.Of(), done); err != nil {
				return err
			}
		}
		return p.show(named, func() error { return nil })
	})
	cmd.Flags().StringVar(&application, "application", "", "in place of a dataset")
	completeFlag(cmd, "application", applicationNames)
	return cmd
}
