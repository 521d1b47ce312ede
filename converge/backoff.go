// SPDX-License-Identifier: Apache-2.0

package converge

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Backoff keeps, for each object by name, how often it failed and when it is due
// again. One object's failures delay no other. It may be used by several goroutines.
type Backoff struct {
	// Min is the first delay, 100ms when zero; each further one is twice as long.
	Min time.Duration
	// Max bounds the delay, 30s when zero.
	Max time.Duration
	// Calm is how long after its last delay an object must have lasted for its failures to be forgotten, 10s when zero.
	Calm time.Duration

	mu      sync.Mutex
	objects map[string]entry
}

type entry struct {
	failures int
	due      time.Time
	looked   bool // Next need not tell of it any more
}

// Failed notes a failure of the object and returns how many there were in a row and when it is due again. It also
// paces what succeeds and must not be repeated at once, such as the restarts of a container that ends again and again.
func (b *Backoff) Failed(object string) (failures int, due time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.objects[object]
	if e.failures > 0 && time.Since(e.due) > orElse(b.Calm, 10*time.Second) {
		e = entry{}
	}
	e.failures++
	e.due, e.looked = time.Now().Add(b.delay(e.failures)), false
	if b.objects == nil {
		b.objects = map[string]entry{}
	}
	b.objects[object] = e
	return e.failures, e.due
}

// delay doubles from Min to Max, less up to a quarter by chance, so that nodes that failed together do not come back together.
func (b *Backoff) delay(failures int) time.Duration {
	d, limit := orElse(b.Min, 100*time.Millisecond), orElse(b.Max, 30*time.Second)
	for i := 1; i < failures && d < limit; i++ {
		d *= 2
	}
	d = min(d, limit)
	return d - rand.N(d/4+1)
}

// Succeeded forgets the object's failures.
func (b *Backoff) Succeeded(object string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, object)
}

// Ready says whether the object may be tried now.
func (b *Backoff) Ready(object string) bool { return !time.Now().Before(b.due(object)) }

// due is when the object may be tried again; the zero time for one that has not failed.
func (b *Backoff) due(object string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[object].due
}

// Next returns when the next object that is backing off is due. It tells of one that
// is due already only once, so that an object that has gone away does not keep the loop awake.
func (b *Backoff) Next() (due time.Time, waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for name, e := range b.objects {
		if e.looked {
			continue
		}
		if !now.Before(e.due) {
			e.looked = true
			b.objects[name] = e
		}
		if !waiting || e.due.Before(due) {
			due, waiting = e.due, true
		}
	}
	return due, waiting
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
