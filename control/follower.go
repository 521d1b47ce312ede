// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// lookAgain is how long what waits is left alone while nothing changes, and bounds how late a clock that was set is noticed.
const lookAgain = time.Minute

// follower does what is due, and what follows from changes of the store. It remembers what to look at, and when; each of its transactions
// reads anew.
type follower interface {
	read(ctx context.Context, tx *store.Tx) error // what there is, all of which is looked at anew
	follow(c store.Change) error
	round(ctx context.Context) error
	pause() (time.Duration, bool) // how long nothing is due; false for ever
	elapsed()                     // the pause
}

// Tend carries out what is to happen by itself: snapshot schedules, fail-overs, and what ends after one. Every control process does so. It returns only when
// ctx ends.
func (s *Service) Tend(ctx context.Context) error {
	for {
		err := s.tend(ctx, []follower{&scheduler{service: s}, &successor{service: s}, &formers{service: s}})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, cluster.ErrGone) {
			s.log.Warn("carrying out schedules and fail-overs failed; trying again", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tend goes round when something is due, and when something has changed that somebody waits for.
func (s *Service) tend(ctx context.Context, all []follower) error {
	rev, err := s.store.Read(ctx, func(tx *store.Tx) error {
		for _, f := range all {
			if err := f.read(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	batches := make(chan store.Batch)
	g.Go(func() error {
		return s.store.Watch(ctx, rev+1, func(b store.Batch) error {
			select {
			case batches <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	g.Go(func() error {
		for {
			for _, f := range all {
				if err := f.round(ctx); err != nil {
					return err
				}
			}
			if err := await(ctx, all, batches); err != nil {
				return err
			}
		}
	})
	return g.Wait()
}

// await takes in changes until there is something to do.
func await(ctx context.Context, all []follower, batches <-chan store.Batch) error {
	var timer <-chan time.Time
	var next []follower
	var wait time.Duration
	for _, f := range all {
		switch d, ok := f.pause(); {
		case ok && (next == nil || d < wait):
			next, wait = []follower{f}, d
		case ok && d == wait:
			next = append(next, f)
		}
	}
	if next != nil {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case b := <-batches:
		for _, c := range b.Changes {
			for _, f := range all {
				if err := f.follow(c); err != nil {
					return err
				}
			}
		}
	case <-timer:
		for _, f := range next {
			f.elapsed()
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
