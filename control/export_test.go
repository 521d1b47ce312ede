// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	"github.com/flocker-project/flocker/control/store"
)

// SetClock has the service tell the time by another clock.
func (s *Service) SetClock(now func() time.Time) { s.now = now }

// ScheduleRound is what a control process does for schedules when it starts.
func (s *Service) ScheduleRound(ctx context.Context) error {
	return s.roundOf(ctx, &scheduler{service: s})
}

// FailOverRound is what a control process does for fail-overs when it starts.
func (s *Service) FailOverRound(ctx context.Context) error {
	return s.roundOf(ctx, &successor{service: s})
}

// FormerRound is what a control process does for nodes that applications were taken over from when it starts.
func (s *Service) FormerRound(ctx context.Context) error { return s.roundOf(ctx, &formers{service: s}) }

func (s *Service) roundOf(ctx context.Context, f follower) error {
	if _, err := s.store.Read(ctx, func(tx *store.Tx) error { return f.read(ctx, tx) }); err != nil {
		return err
	}
	return f.round(ctx)
}

// Succeed takes one application over.
func (s *Service) Succeed(ctx context.Context, name string) error { return s.succeed(ctx, name) }
