// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// schedulesOf are those of a dataset, by name or UUID, of an application, or all.
func schedulesOf(ctx context.Context, c *api.Client, dataset, application string) ([]api.ScheduleInfo, error) {
	if dataset != "" && application != "" {
		return nil, fmt.Errorf("%w: name a dataset or an application, not both", cluster.ErrInvalid)
	}
	if dataset != "" { // that it is there is told apart from that it has none
		d, err := c.Dataset(ctx, dataset)
		if err != nil {
			return nil, err
		}
		dataset = string(d.ID)
	} else if application != "" {
		if _, err := c.Application(ctx, application); err != nil {
			return nil, err
		}
	}
	all, err := c.Schedules(ctx)
	return slices.DeleteFunc(all, func(x api.ScheduleInfo) bool {
		return dataset != "" && string(x.Dataset) != dataset || application != "" && x.Application != application
	}), err
}

// namedSchedules finds schedules by name or UUID.
func namedSchedules(ctx context.Context, c *api.Client, application string, args []string) ([]api.ScheduleInfo, error) {
	dataset, refs, err := snapshotted(application, args)
	if err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		return nil, fmt.Errorf("%w: name a schedule", cluster.ErrInvalid)
	}
	all, err := schedulesOf(ctx, c, dataset, application)
	if err != nil {
		return nil, err
	}
	var named []api.ScheduleInfo
	for _, ref := range refs {
		i := slices.IndexFunc(all, func(x api.ScheduleInfo) bool { return x.Name == ref || string(x.ID) == ref })
		if i < 0 {
			return nil, fmt.Errorf("schedule %q of %s%s: %w", ref, dataset, application, cluster.ErrNotFound)
		}
		named = append(named, all[i])
	}
	return named, nil
}

// completeSchedules completes a dataset, where no application is named, and then its schedules.
func completeSchedules(application *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		if *application == "" && len(args) == 0 {
			return completeArgs(datasetNames)(cmd, args, text)
		}
		dataset := ""
		if *application == "" {
			dataset, args = args[0], args[1:]
		}
		return completeEach(func(ctx context.Context, c *api.Client) ([]string, error) {
			all, err := schedulesOf(ctx, c, dataset, *application)
			return listOf(all, func(x api.ScheduleInfo) string { return x.Name }), err
		})(cmd, args, text)
	}
}

func (p printer) schedules(all []api.ScheduleInfo) error {
	t := p.table("OF", "SCHEDULE", "EVERY", "KEEPS", "SNAPSHOTS", "STATE")
	for _, x := range all {
		of := "dataset " + x.Of()
		if x.Application != "" {
			of = "application " + x.Of()
		}
		every := string(x.Every)
		if x.Quiesce {
			every += ", quiesced"
		}
		t.row(of, x.Name, every, rulesOf(x.Keep), strconv.Itoa(x.Snapshots), nextOf(x))
	}
	return t.end()
}

// rulesOf says in short what is kept.
func rulesOf(r cluster.Retention) string {
	var rules []string
	for _, rule := range []struct {
		name string
		most int
	}{{"last", r.Last}, {"hourly", r.Hourly}, {"daily", r.Daily}, {"weekly", r.Weekly}, {"monthly", r.Monthly}} {
		if rule.most > 0 {
			rules = append(rules, strconv.Itoa(rule.most)+" "+rule.name)
		}
	}
	return strings.Join(rules, ", ")
}

// nextOf says when a schedule is due next, or what it waits for.
func nextOf(x api.ScheduleInfo) string {
	switch {
	case x.Paused:
		return "paused"
	case x.Reason != "":
		return "waits: " + x.Reason
	}
	return "next at " + x.Next.UTC().Format("2006-01-02 15:04 MST")
}
