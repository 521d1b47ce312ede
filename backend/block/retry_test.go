// SPDX-License-Identifier: Apache-2.0

package block_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/block"
)

// asking makes one call through an around of a store that answers with errs in turn, and says how long it took.
func asking(ctx context.Context, around backend.Around, errs ...error) (calls int, took time.Duration, err error) {
	begin := time.Now()
	err = around(ctx, backend.StoreCall{Op: "attach"}, func(context.Context) error {
		calls++
		if calls > len(errs) {
			return nil
		}
		return errs[calls-1]
	})
	return calls, time.Since(begin), err
}

func TestRetryWaitsForWhatPasses(t *testing.T) {
	busy := fmt.Errorf("api: %w", backend.ErrTemporary)
	less := fmt.Errorf("api: %w", backend.ErrThrottled)
	later := &backend.RetryAfterError{Wait: time.Minute, Err: less}
	for _, c := range []struct {
		name     string
		errs     []error
		calls    int
		min, max time.Duration
		want     error
	}{
		{"success", nil, 1, 0, 0, nil},
		{"another failure", []error{backend.ErrNotFound}, 1, 0, 0, backend.ErrNotFound},
		{"a temporary failure", []error{busy, busy}, 3, 150 * time.Millisecond, 300 * time.Millisecond, nil},
		{"throttling", []error{less, less}, 3, 600 * time.Millisecond, 1200 * time.Millisecond, nil},
		{"a time that the store asks for", []error{later}, 2, time.Minute, time.Minute + 400*time.Millisecond, nil},
		{"another failure after that", []error{busy, backend.ErrBusy}, 2, 50 * time.Millisecond, 100 * time.Millisecond, backend.ErrBusy},
		{"no end of it", []error{busy, busy, busy, busy, busy}, 4, 350 * time.Millisecond, 700 * time.Millisecond, backend.ErrTemporary},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				retry := block.Retry(block.Patience{Tries: 4, First: 100 * time.Millisecond, Longest: 10 * time.Second}, slog.New(slog.DiscardHandler))
				calls, took, err := asking(t.Context(), retry, c.errs...)
				if calls != c.calls || took < c.min || took > c.max || !errors.Is(err, c.want) {
					t.Errorf("%d calls, %s, %v; want %d, %s to %s, %v", calls, took, err, c.calls, c.min, c.max, c.want)
				}
			})
		})
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		later := &backend.RetryAfterError{Wait: time.Hour, Err: backend.ErrThrottled}
		_, took, err := asking(ctx, block.Retry(block.DefaultPatience(), slog.New(slog.DiscardHandler)), later)
		if took != time.Second || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, backend.ErrThrottled) {
			t.Errorf("after %s: %v; want both reasons after a second", took, err)
		}
	})
}

func TestLimitSpreadsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		limit := block.Limit(10, 5)
		for range 25 {
			if _, _, err := asking(t.Context(), limit); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("25 calls took %s; want 2s: five at once, ten a second", took)
		}
	})
}
