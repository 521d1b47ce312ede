// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"
)

// SetClock has the service tell the time by another clock.
func (s *Service) SetClock(now func() time.Time) { s.now = now }

// ScheduleRound is what a control process does for schedules when it starts.
func (s *Service) ScheduleRound(ctx context.Context) error {
	at, _, err := s.newScheduler(ctx)
	if err != nil {
		return err
	}
	return at.round(ctx)
}
