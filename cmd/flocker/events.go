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

func newEventsCommand() *cobra.Command {
	var since int64
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Follow what changes in the cluster",
		Long: `Follow what changes in the cluster, until interrupted. Each line begins with a revision; given with --since, the stream
resumes after it. When what came after is no longer kept, a line says so, and with --json it carries the present state.`,
		Example: "  flocker events\n  flocker events --since 1234 --json",
		Args:    cobra.NoArgs,
		RunE: withClient(func(ctx context.Context, c *api.Client, p printer, _ []string) error {
			if since < 0 {
				return fmt.Errorf("--since %d: %w: it cannot be negative", since, cluster.ErrInvalid)
			}
			return followEvents(ctx, c, p, cluster.Revision(since))
		}),
	}
	addConnection(cmd)
	cmd.Flags().Int64Var(&since, "since", 0, "revision after which to begin (default: now)")
	return cmd
}

// followEvents goes on where it was when the stream breaks after it has begun.
func followEvents(ctx context.Context, c *api.Client, p printer, since cluster.Revision) error {
	begun := false
	for {
		err := c.Events(ctx, since, func(e api.Event) error {
			begun, since = true, max(since, e.Revision)
			if e.Kind == api.EventResync {
				since = e.Revision
			}
			return p.line(e, eventText(e))
		})
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // being interrupted is how this ends
		case !begun || !errors.Is(err, cluster.ErrUnavailable):
			return err
		}
		p.log.Warn("the stream broke; trying again", "since", since)
		select {
		case <-time.After(tryAgain):
		case <-ctx.Done():
			return nil
		}
	}
}

func eventText(e api.Event) string {
	text := fmt.Sprintf("%d  %s  %s %s %s", e.Revision, e.At.Local().Format(time.TimeOnly), kindOfObject(e.Object), e.Name, e.Kind)
	if e.Kind == api.EventResync {
		text = fmt.Sprintf("%d  %s  what was before is no longer kept; the stream goes on from here", e.Revision, e.At.Local().Format(time.TimeOnly))
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}
