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
	Log   *slog.Logger
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
	}
}
