// SPDX-License-Identifier: Apache-2.0

// Package load writes numbered records to a database while it is moved, and finds
// out afterwards whether each record that was acknowledged is there, once.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Database is one kind of database server, as the writer needs it.
type Database interface {
	// Connect opens a connection to one address; ctx bounds the try.
	Connect(ctx context.Context, address string) (Connection, error)
}

// Connection is one connection to the server.
type Connection interface {
	// Prepare makes an empty place for records where there is none.
	Prepare(ctx context.Context) error
	// Write stores record n and returns once the server has made it durable.
	Write(ctx context.Context, n int64) error
	// Has says whether record n is stored.
	Has(ctx context.Context, n int64) (bool, error)
	// All returns every record stored, each as often as it is there.
	All(ctx context.Context) ([]int64, error)
	Close() error
}

const (
	connectTimeout = 250 * time.Millisecond
	writeTimeout   = 500 * time.Millisecond
	retryPause     = 2 * time.Millisecond
)

// Writer writes records 1, 2, 3, … one after the other, to whichever of the addresses
// answers. Make it with Start.
type Writer struct {
	db        Database
	addresses []string
	pace      time.Duration
	cancel    context.CancelFunc
	done      chan struct{}

	mu   sync.Mutex
	acks []time.Time // acks[i] is when record i+1 was acknowledged
	last error
	next int
}

// Start prepares the database and begins to write, one record each pace.
func Start(ctx context.Context, db Database, addresses []string, pace time.Duration) (*Writer, error) {
	w := &Writer{db: db, addresses: addresses, pace: pace, done: make(chan struct{})}
	c, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the place for records: %w", err), c.Close())
	}
	ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go w.run(ctx, c)
	return w, nil
}

// connect tries the addresses in turn until one answers or ctx ends.
func (w *Writer) connect(ctx context.Context) (Connection, error) {
	var last error
	for ctx.Err() == nil {
		address := w.addresses[w.next%len(w.addresses)]
		try, cancel := context.WithTimeout(ctx, connectTimeout)
		c, err := w.db.Connect(try, address)
		cancel()
		if err == nil {
			return c, nil
		}
		last = err
		w.next++
		pause(ctx, retryPause)
	}
	return nil, errors.Join(ctx.Err(), last)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// run writes until ctx ends. A record whose answer was lost is looked for before it
// is written again.
func (w *Writer) run(ctx context.Context, c Connection) {
	defer close(w.done)
	doubtful := false
	for n := int64(1); ctx.Err() == nil; {
		var err error
		if c == nil {
			if c, err = w.connect(ctx); err != nil {
				break
			}
		}
		stored := false
		try, cancel := context.WithTimeout(ctx, writeTimeout)
		if doubtful {
			stored, err = c.Has(try, n)
		}
		if err == nil && !stored {
			doubtful = true
			err = c.Write(try, n)
		}
		cancel()
		if err != nil {
			w.broke(err, c.Close())
			c = nil
			continue
		}
		doubtful = false
		w.acknowledged(time.Now())
		n++
		pause(ctx, w.pace)
	}
	if c != nil {
		w.broke(nil, c.Close())
	}
}

func (w *Writer) broke(errs ...error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = errors.Join(errs...)
}

func (w *Writer) acknowledged(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = append(w.acks, at)
}

// Count is how many records have been acknowledged.
func (w *Writer) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// Stall is the longest time between two acknowledgements since t, the one still
// running included.
func (w *Writer) Stall(t time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest time.Duration
	previous := t
	for _, at := range w.acks {
		if at.Before(t) {
			previous = at
			continue
		}
		longest = max(longest, at.Sub(previous))
		previous = at
	}
	return max(longest, time.Since(previous))
}

// WaitFor returns once n more records have been acknowledged, or ctx ends.
func (w *Writer) WaitFor(ctx context.Context, n int) error {
	until := w.Count() + n
	for w.Count() < until {
		if ctx.Err() != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			return fmt.Errorf("waiting for record %d, last error of the writer: %w", until, errors.Join(ctx.Err(), w.last))
		}
		pause(ctx, w.pace)
	}
	return nil
}

// Verdict is what was found of the records.
type Verdict struct {
	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`
	Duplicated   int `json:"duplicated"`
}

// Stop ends the writing and looks at every record.
func (w *Writer) Stop(ctx context.Context) (Verdict, error) {
	w.cancel()
	<-w.done
	return w.Verify(ctx)
}

// Verify looks at every record that has been acknowledged so far.
func (w *Writer) Verify(ctx context.Context) (Verdict, error) {
	v := Verdict{Acknowledged: w.Count()}
	reader := Writer{db: w.db, addresses: w.addresses}
	c, err := reader.connect(ctx)
	if err != nil {
		return v, fmt.Errorf("connect to verify: %w", err)
	}
	all, err := c.All(ctx)
	if err := errors.Join(err, c.Close()); err != nil {
		return v, fmt.Errorf("read the records back: %w", err)
	}
	v.judge(all)
	return v, nil
}

func (v *Verdict) judge(stored []int64) {
	times := make(map[int64]int, len(stored))
	for _, n := range stored {
		times[n]++
	}
	for n := int64(1); n <= int64(v.Acknowledged); n++ {
		if times[n] == 0 {
			v.Lost++
		}
	}
	for _, t := range times {
		v.Duplicated += t - 1
	}
}
