// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// progressEvery bounds how often progress is stored.
const progressEvery = 250 * time.Millisecond

// progress tells the control service how far a move is, at most four times a second
// and only what is new.
type progress struct {
	store store
	log   *slog.Logger
	move  cluster.MoveID

	mu    sync.Mutex
	now   cluster.MoveProgress
	begun time.Time
	fresh bool
}

// start begins telling; the function it returns ends it, with a last word.
func (p *progress) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.tell(ctx)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

func (p *progress) tell(ctx context.Context) {
	p.mu.Lock()
	now, fresh := p.now, p.fresh
	if took := time.Since(p.begun); took > 0 {
		now.Rate = int64(float64(now.Done) / took.Seconds())
	}
	p.fresh = false
	p.mu.Unlock()
	if !fresh {
		return
	}
	now.Move, now.At = p.move, time.Now()
	if err := p.store.Progress(ctx, now); err != nil && ctx.Err() == nil {
		p.log.Debug("progress not stored", "move", p.move, "error", err)
	}
}

// step begins a new step.
func (p *progress) step(name string, round int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = cluster.MoveProgress{Step: name, Round: round}
	p.begun, p.fresh = time.Now(), true
}

// expect adds to the estimate of the step's bytes.
func (p *progress) expect(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Total += bytes
}

func (p *progress) add(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Done += int64(bytes)
	if p.now.Total > 0 {
		p.now.Total = max(p.now.Total, p.now.Done)
	}
	p.fresh = true
}

// counter counts what goes through it.
type counter struct {
	w     io.Writer
	shown *progress
	bytes int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.bytes += int64(n)
	c.shown.add(n)
	return n, err
}
