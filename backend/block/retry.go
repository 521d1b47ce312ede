// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"

	"github.com/flocker-project/flocker/backend"
)

// Patience bounds how often a call is made again that its store refuses for now.
type Patience struct {
	Tries   int           // in all
	First   time.Duration // before the second try; then twice as long each time
	Longest time.Duration
}

// DefaultPatience makes a call again for about half a minute.
func DefaultPatience() Patience {
	return Patience{Tries: 8, First: 100 * time.Millisecond, Longest: 10 * time.Second}
}

// throttled is how much longer to wait where the store asks for fewer calls.
const throttled = 4

// Retry makes a call again that failed with backend.ErrTemporary or ErrThrottled, after a wait of random length, or as long
// as the store asks. Every method of a store may be called again.
func Retry(p Patience, log *slog.Logger) backend.Around {
	return func(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
		for try := 1; ; try++ {
			err := do(ctx)
			if !errors.Is(err, backend.ErrTemporary) && !errors.Is(err, backend.ErrThrottled) {
				return err
			}
			if try >= p.Tries {
				return fmt.Errorf("tried %d times: %w", try, err)
			}
			wait := p.wait(try, err)
			log.DebugContext(ctx, "store asks to try again", "op", call.Op, "volume", call.Volume.ID, "wait", wait, "error", err)
			if stop := pause(ctx, wait); stop != nil {
				return fmt.Errorf("%w: %w", stop, err)
			}
		}
	}
}

func (p Patience) wait(try int, err error) time.Duration {
	wait := p.First << min(try-1, 20)
	if errors.Is(err, backend.ErrThrottled) {
		wait *= throttled
	}
	wait = min(wait, p.Longest)
	wait = wait/2 + rand.N(wait/2+1)
	if asked, ok := errors.AsType[*backend.RetryAfterError](err); ok {
		wait += asked.Wait
	}
	return wait
}

// Limit lets calls pass at a rate; a burst of them at once.
func Limit(perSecond float64, burst int) backend.Around {
	limiter := rate.NewLimiter(rate.Limit(perSecond), burst)
	return func(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
		if err := limiter.Wait(ctx); err != nil {
			return fmt.Errorf("wait to call the store: %w", err)
		}
		return do(ctx)
	}
}
