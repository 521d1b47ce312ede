// SPDX-License-Identifier: Apache-2.0

// Package converge runs rounds: one when something wakes it, and again after a
// growing pause when a round failed.
package converge

import (
	"context"
	"log/slog"
	"time"
)

// Loop runs Round whenever Wake says so, one at a time.
type Loop struct {
	Wake  *Waker
	Round func(ctx context.Context) error
	// Rest, where set, says after a round how long the next one waits at least; what wakes it meanwhile is one round.
	Rest func() time.Duration
	Log  *slog.Logger
}

// Run runs one round at once, and then one for each wake, until ctx ends; it returns ctx's error.
func (l Loop) Run(ctx context.Context) error {
	defer l.Wake.Stop()
	l.Wake.Wake()
	var pauses Backoff
	var due time.Time
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.Wake.c:
		}
		err := l.Round(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && time.Now().Before(due):
			l.Wake.WakeAfter(time.Until(due)) // woken early by something else; that says nothing about how long it lasts
		case err != nil:
			if failures, due = pauses.Failed("round"); failures == 1 {
				l.Log.Error("round failed; it is tried again", "error", err)
			}
			l.Wake.WakeAfter(time.Until(due))
		case failures > 0:
			l.Log.Info("rounds work again", "failures", failures)
			failures, due = 0, time.Time{}
			pauses.Succeeded("round")
		}
		if err := l.rest(ctx); err != nil {
			return err
		}
	}
}

func (l Loop) rest(ctx context.Context) error {
	if l.Rest == nil {
		return nil
	}
	d := l.Rest()
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
