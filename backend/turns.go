// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrLate says that storage has not answered in time. What it was asked for may still be under way.
var ErrLate = errors.New("storage does not answer")

const (
	// answerWithin is how long somebody waits for a look. Looks take milliseconds, and a store's listing a few seconds at most.
	answerWithin = 10 * time.Second
	// expectWithin is how long one waits for a store to list what it may have. Where it does not answer, what is known of it serves.
	expectWithin = 3 * time.Second
	// giveUpAfter ends a look that nobody waits for any more, where it can be ended: what waits for a dead socket would wait for ever.
	giveUpAfter = 2 * time.Minute
	// closeWithin is how long the end of the process waits for one.
	closeWithin = time.Second
)

// turns lets one call of storage run at a time. Nobody waits long for one, and while one has not come back none
// is begun beside it: what hangs in the kernel would otherwise hang once more with every try.
type turns struct {
	within  time.Duration // answerWithin where it is 0
	mu      sync.Mutex
	current *turn
}

type turn struct {
	began time.Time
	over  chan struct{}
}

// take begins a turn, or returns the one under way.
func (t *turns) take() (mine, other *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		return nil, t.current
	}
	t.current = &turn{began: time.Now(), over: make(chan struct{})}
	return t.current, nil
}

func (t *turns) end(mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = nil
	close(mine.over)
}

// await waits for the end of a turn that has its time from when it began; within is how much that is.
func (t *turn) await(ctx context.Context, what string, within time.Duration) error {
	timer := time.NewTimer(within - time.Since(t.began))
	defer timer.Stop()
	select {
	case <-t.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case <-timer.C:
		return fmt.Errorf("%s: %w: since %s", what, ErrLate, t.began.UTC().Format("15:04:05 MST"))
	}
}

// settle waits for a turn that is under way, but not long.
func (t *turns) settle(within time.Duration) {
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()
	if current == nil {
		return
	}
	select {
	case <-current.over:
	case <-time.After(within):
	}
}

// inTurn calls f in its turn. What comes back late is thrown away: others may have changed since what it saw.
func inTurn[T any](ctx context.Context, t *turns, what string, f func(context.Context) (T, error)) (T, error) {
	var none T
	within := cmp.Or(t.within, answerWithin)
	mine, other := t.take()
	for mine == nil {
		if err := other.await(ctx, what, within); err != nil {
			return none, err
		}
		mine, other = t.take()
	}
	var got T
	err := fmt.Errorf("%s: %w", what, ErrLate)
	go func() {
		defer t.end(mine)
		ctx, cancel := context.WithTimeout(ctx, giveUpAfter)
		defer cancel()
		got, err = f(ctx)
	}()
	if late := mine.await(ctx, what, within); late != nil {
		return none, late
	}
	return got, err
}
