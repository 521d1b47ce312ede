// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// sweepAfter keeps the removal of what is no longer needed out of a move's gap: the kernel lets go of every page
	// and name of a subvolume before it answers, and its cleaner then makes every commit wait for the leaves it frees.
	// Something new within that time is another round of a move that goes on, and it is waited for again.
	sweepAfter = 5 * time.Second
	// sweepWithin bounds that wait: what is not removed takes up room.
	sweepWithin = time.Minute
)

// sweeper removes places of the incoming folder a little later, from the trash. What it does not get to, the next Open removes.
type sweeper struct {
	mu     sync.Mutex
	places []string
	wake   chan struct{}
}

func newSweeper() *sweeper { return &sweeper{wake: make(chan struct{}, 1)} }

// sweepLater has a place removed.
func (d *Driver) sweepLater(place string) {
	trash := d.dir(trashDir, filepath.Base(place))
	if err := os.Rename(place, trash); err != nil {
		d.log.Warn("left behind until the next start", slog.String("place", place), slog.Any("error", err))
		return
	}
	d.sweeper.mu.Lock()
	d.sweeper.places = append(d.sweeper.places, trash)
	d.sweeper.mu.Unlock()
	select {
	case d.sweeper.wake <- struct{}{}:
	default:
	}
}

// sweepUntil removes what it is told of, until ctx ends and once more then.
func (d *Driver) sweepUntil(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			d.sweepNow()
			return
		case <-d.sweeper.wake:
		}
		d.awaitQuiet(ctx)
		d.sweepNow()
	}
}

// awaitQuiet waits until nothing new has come for a while, or for long enough.
func (d *Driver) awaitQuiet(ctx context.Context) {
	most := time.NewTimer(sweepWithin)
	defer most.Stop()
	quiet := time.NewTimer(sweepAfter)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-most.C:
			return
		case <-quiet.C:
			return
		case <-d.sweeper.wake:
			quiet.Reset(sweepAfter)
		}
	}
}

func (d *Driver) sweepNow() {
	d.sweeper.mu.Lock()
	places := d.sweeper.places
	d.sweeper.places = nil
	d.sweeper.mu.Unlock()
	for _, place := range places {
		if err := d.deleteTree(context.Background(), place); err != nil {
			d.log.Warn("left behind until the next start", slog.String("place", place), slog.Any("error", err))
		}
	}
}
