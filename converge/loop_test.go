// SPDX-License-Identifier: Apache-2.0

package converge_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/converge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAFailedRoundIsTriedAgainAfterGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var at []time.Duration
		start := time.Now()
		loop := converge.Loop{Wake: converge.NewWaker(), Log: slog.New(slog.DiscardHandler), Round: func(context.Context) error {
			at = append(at, time.Since(start))
			if len(at) == 8 {
				cancel()
			}
			return errors.New("it fails")
		}}
		if err := loop.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("Run = %v, want the context's error", err)
		}
		for i := 1; i < len(at); i++ {
			full := 100 * time.Millisecond << (i - 1)
			if pause := at[i] - at[i-1]; pause < full*3/4 || pause > full {
				t.Errorf("pause %d = %v, want between %v and %v", i, pause, full*3/4, full)
			}
		}
	})
}

func TestManyWakesAreOneRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake, rounds := converge.NewWaker(), 0
		loop := converge.Loop{Wake: wake, Log: slog.New(slog.DiscardHandler), Round: func(context.Context) error {
			rounds++
			return nil
		}}
		done := make(chan error)
		go func() { done <- loop.Run(ctx) }()
		synctest.Wait()
		for range 100 {
			wake.Wake()
		}
		synctest.Wait()
		if rounds < 2 || rounds > 3 {
			t.Errorf("%d rounds, want the first and one or two for the wakes", rounds)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's error", err)
		}
	})
}

func TestTheEarliestOfSeveralLaterWakesCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake := converge.NewWaker()
		start := time.Now()
		var at []time.Duration
		loop := converge.Loop{Wake: wake, Log: slog.New(slog.DiscardHandler), Round: func(context.Context) error {
			at = append(at, time.Since(start))
			if len(at) == 1 {
				wake.WakeAfter(10 * time.Second)
				wake.WakeAfter(time.Second)
				wake.WakeAfter(5 * time.Second)
			} else {
				cancel()
			}
			return nil
		}}
		if err := loop.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if len(at) != 2 || at[1] != time.Second {
			t.Errorf("rounds at %v, want at 0 and 1s", at)
		}
	})
}

// What wakes a failing loop early does not make its pauses longer: the cause may be gone soon.
func TestEarlyWakesDoNotLengthenThePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake, start := converge.NewWaker(), time.Now()
		healed := time.Duration(0)
		loop := converge.Loop{Wake: wake, Log: slog.New(slog.DiscardHandler), Round: func(context.Context) error {
			if time.Since(start) < time.Second {
				return errors.New("it fails")
			}
			healed = time.Since(start)
			cancel()
			return nil
		}}
		go func() {
			for range 90 {
				<-time.After(10 * time.Millisecond)
				wake.Wake()
			}
		}()
		if err := loop.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if healed > 2*time.Second {
			t.Errorf("what works again after 1s was found out after %v", healed)
		}
	})
}

func TestALoopRestsBetweenRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake, rounds := converge.NewWaker(), 0
		loop := converge.Loop{
			Wake: wake, Log: slog.New(slog.DiscardHandler),
			Round: func(context.Context) error { rounds++; wake.Wake(); return nil },
			Rest:  func() time.Duration { return 100 * time.Millisecond },
		}
		done := make(chan error)
		go func() { done <- loop.Run(ctx) }()
		<-time.After(1050 * time.Millisecond)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || rounds != 11 {
			t.Errorf("Run = %v with %d rounds in 1.05 s; want the context's error, and one each 100 ms", err, rounds)
		}
	})
}
