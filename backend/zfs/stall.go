// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// stall ends a context when nothing has moved for a time, of which a wait for somebody else is no part.
type stall struct {
	cancel context.CancelFunc
	timer  *time.Timer
	limit  time.Duration
	over   atomic.Bool
}

func watch(ctx context.Context, limit time.Duration) (context.Context, *stall) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stall{cancel: cancel, limit: limit}
	s.timer = time.AfterFunc(limit, func() {
		s.over.Store(true)
		cancel()
	})
	return ctx, s
}

func (s *stall) pause() { s.timer.Stop() }

func (s *stall) resume() { s.timer.Reset(s.limit) }

func (s *stall) end() {
	s.timer.Stop()
	s.cancel()
}

// taker writes to a program that has to take what it is given.
type taker struct {
	w       io.Writer
	stalled *stall
}

func (t taker) Write(p []byte) (int, error) {
	t.stalled.resume()
	defer t.stalled.pause()
	return t.w.Write(p)
}
