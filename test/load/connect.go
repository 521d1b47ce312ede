// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Connector begins connections at a steady pace, each to the next of its addresses, and closes each as soon as it
// stands. Nothing is tried again: what a client without patience would see is what counts.
type Connector struct {
	Addresses []string
	PerSecond int
	// Within is how long one attempt may take. At most Within times PerSecond of them are under way at once.
	Within time.Duration

	ended chan struct{} // nothing is begun any more
	stop  func()
	done  chan struct{} // and nothing is under way

	mu    sync.Mutex
	next  int
	under map[int]Wait // by number
	waits []Wait
}

// Wait is one attempt.
type Wait struct {
	Address string
	Began   time.Time
	Took    time.Duration
	Err     error // nil for a connection that stood
}

// Attempts is what became of many.
type Attempts struct {
	Attempts int           // under way or ended
	Refused  int           // by the other end, or for want of a way to it
	Reset    int           // in the moment in which they stood
	TimedOut int           // not answered at all
	Failed   int           // for a reason of this machine's own
	Longest  time.Duration // wait of a connection, whatever became of it
	Last     error         // the last reason of all these
}

// Bad is how many did not become a connection.
func (a Attempts) Bad() int { return a.Refused + a.Reset + a.TimedOut + a.Failed }

// Start begins. The end of ctx gives up also what is under way.
func (c *Connector) Start(ctx context.Context) {
	c.ended, c.done = make(chan struct{}), make(chan struct{})
	c.stop = sync.OnceFunc(func() { close(c.ended) })
	c.under = map[int]Wait{}
	go c.run(ctx)
}

// Stop begins nothing more and returns when nothing is under way.
func (c *Connector) Stop() {
	c.stop()
	<-c.done
}

func (c *Connector) run(ctx context.Context) {
	defer close(c.done)
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(max(time.Millisecond, time.Second/time.Duration(c.PerSecond)))
	defer tick.Stop()
	begun := time.Now()
	for n := 0; ; {
		select {
		case <-c.ended:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := int(time.Since(begun).Seconds() * float64(c.PerSecond))
		// A machine that stood still does not make up for it by a crowd.
		n = max(n, due-c.PerSecond/10-1)
		for ; n < due; n++ {
			under.Go(func() { c.attempt(ctx) })
		}
	}
}

func (c *Connector) attempt(ctx context.Context) {
	number, w := c.begin()
	dialer := net.Dialer{Timeout: c.Within, KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", w.Address)
	w.Took = time.Since(w.Began)
	if err == nil {
		// A reset leaves nothing behind on either end.
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetLinger(0)
		}
		err = errors.Join(err, conn.Close())
	}
	w.Err = err
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.under, number)
	if ctx.Err() == nil {
		c.waits = append(c.waits, w)
	}
}

func (c *Connector) begin() (number int, w Wait) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w = Wait{Address: c.Addresses[c.next%len(c.Addresses)], Began: time.Now()}
	c.under[c.next] = w
	c.next++
	return c.next - 1, w
}

// Waits lists what has ended since t.
func (c *Connector) Waits(t time.Time) (since []Wait) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waits {
		if w.Began.Add(w.Took).After(t) {
			since = append(since, w)
		}
	}
	return since
}

// Since sums up what has ended since t and what is still under way.
func (c *Connector) Since(t time.Time) (a Attempts) {
	for _, w := range c.Waits(t) {
		a.count(w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.under {
		a.Attempts++
		a.Longest = max(a.Longest, time.Since(w.Began))
	}
	return a
}

// Settled returns once everything that was begun before t has ended.
func (c *Connector) Settled(ctx context.Context, t time.Time) error {
	for c.waiting(t) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause(ctx, retryPause)
	}
	return nil
}

func (c *Connector) waiting(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.under {
		if w.Began.Before(t) {
			return true
		}
	}
	return false
}

func (a *Attempts) count(w Wait) {
	a.Attempts++
	a.Longest = max(a.Longest, w.Took)
	if w.Err == nil {
		return
	}
	a.Last = w.Err
	var late net.Error
	switch {
	case errors.Is(w.Err, syscall.ECONNREFUSED), errors.Is(w.Err, syscall.EHOSTUNREACH), errors.Is(w.Err, syscall.ENETUNREACH):
		a.Refused++
	case errors.Is(w.Err, syscall.ECONNRESET):
		a.Reset++
	case errors.As(w.Err, &late) && late.Timeout():
		a.TimedOut++
	default:
		a.Failed++
	}
}
