// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// OpStats is how often an operation was called, how often it failed and how long it took.
type OpStats struct {
	Op       string        `json:"op"`
	Calls    int           `json:"calls"`
	Failures int           `json:"failures"`
	Total    time.Duration `json:"total"`
	Longest  time.Duration `json:"longest"`
}

// Stats are the calls of the driver since the pool was made, by operation, and those of the store behind it where there
// is one.
func (p *Pool) Stats() []OpStats {
	all := p.calls.stats()
	if store, ok := as[interface{ Stats() []OpStats }](p.driver); ok {
		all = append(all, store.Stats()...)
	}
	return all
}

// call is one call of the driver.
type call struct {
	op     string
	id     cluster.DatasetID
	object string
}

func (c call) String() string {
	switch {
	case c.id == "":
		return c.op
	case c.object == "":
		return fmt.Sprintf("%s dataset %s", c.op, c.id)
	}
	return fmt.Sprintf("%s dataset %s: %s", c.op, c.id, c.object)
}

// do times one call of the driver and says of what it was in the error.
func (p *Pool) do(ctx context.Context, c call, f func() error) error {
	begin := time.Now()
	err := f()
	took := time.Since(begin)
	p.calls.add(c.op, took, err)
	p.options.Log.LogAttrs(ctx, slog.LevelDebug, "storage call",
		slog.String("op", c.op), slog.String("dataset", string(c.id)), slog.String("object", c.object),
		slog.Duration("took", took), slog.Bool("failed", err != nil))
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

type calls struct {
	mu sync.Mutex
	of map[string]*OpStats
}

func (c *calls) add(op string, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]*OpStats{}
	}
	s := c.of[op]
	if s == nil {
		s = &OpStats{Op: op}
		c.of[op] = s
	}
	s.Calls++
	s.Total += took
	s.Longest = max(s.Longest, took)
	if err != nil {
		s.Failures++
	}
}

func (c *calls) stats() []OpStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]OpStats, 0, len(c.of))
	for _, s := range c.of {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b OpStats) int { return cmp.Compare(a.Op, b.Op) })
	return all
}
