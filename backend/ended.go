// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"time"
)

// endsWithin bounds the wait for a reader to end with its context.
const endsWithin = 300 * time.Millisecond

// UnlessEnded waits for f, which reads what is sent, or for the end of ctx. The reader should end with ctx, so that is
// waited for a little; but it may hang for as long as its connection does, and f is then left to itself.
func UnlessEnded(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(endsWithin):
		return ctx.Err()
	}
}
