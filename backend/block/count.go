// SPDX-License-Identifier: Apache-2.0

package block

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/flocker-project/flocker/backend"
)

// counts are the calls that reached a store, by method, each of which is in the log.
type counts struct {
	log *slog.Logger
	mu  sync.Mutex
	of  map[string]backend.OpStats
}

func (c *counts) around(ctx context.Context, call backend.StoreCall, do func(context.Context) error) error {
	begin := time.Now()
	err := do(ctx)
	took := time.Since(begin)
	c.log.LogAttrs(ctx, slog.LevelDebug, "store call", slog.String("op", call.Op), slog.String("volume", call.Volume.ID),
		slog.Duration("took", took), slog.Bool("failed", err != nil))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]backend.OpStats{}
	}
	s := c.of[call.Op]
	s.Op = "store-" + call.Op
	s.Calls++
	s.Total += took
	s.Longest = max(s.Longest, took)
	if err != nil {
		s.Failures++
	}
	c.of[call.Op] = s
	return err
}

func (c *counts) stats() []backend.OpStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.of), func(a, b backend.OpStats) int { return cmp.Compare(a.Op, b.Op) })
}
