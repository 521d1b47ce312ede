// SPDX-License-Identifier: Apache-2.0

package converge

import (
	"sync"
	"time"
)

// Waker is a reason to run a round: now, or once after a while. It carries nothing
// else, so losing one of two wakes loses nothing. It is safe for concurrent use.
type Waker struct {
	c chan struct{}

	mu    sync.Mutex
	timer *time.Timer
	at    time.Time // when timer fires; zero when none is set
}

// NewWaker makes a Waker on which nothing is due.
func NewWaker() *Waker { return &Waker{c: make(chan struct{}, 1)} }

// Wake asks for a round as soon as possible.
func (w *Waker) Wake() {
	select {
	case w.c <- struct{}{}:
	default: // one is asked for already
	}
}

// WakeAfter asks for a round after d at the latest. Of several the earliest counts.
func (w *Waker) WakeAfter(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now().Add(d)
	if !w.at.IsZero() && !at.Before(w.at) {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.at = at
	w.timer = time.AfterFunc(d, func() {
		w.mu.Lock()
		w.at = time.Time{}
		w.mu.Unlock()
		w.Wake()
	})
}

// Stop forgets what was asked for later.
func (w *Waker) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.at = time.Time{}
}
