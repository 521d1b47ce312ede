// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"syscall"
	"time"
)

// A child that ends is started again after minDelay, each time twice as long up to maxDelay; one that ran for steady
// counts as healthy again.
const (
	minDelay = 200 * time.Millisecond
	maxDelay = 5 * time.Second
	steady   = 10 * time.Second
	grace    = 10 * time.Second // between SIGTERM and SIGKILL
)

// process is a started child; ended gives how it ended, once.
type process struct {
	pid    int
	ended  <-chan string
	signal func(syscall.Signal) error
}

// keeper keeps one child running.
type keeper struct {
	name   string
	start  func() (*process, error)
	check  func() State // Running when the child may start, else why not
	report func(ChildStatus)
	wake   chan struct{}
	status ChildStatus
}

// keep returns after ctx ends and the child has ended.
func (k *keeper) keep(ctx context.Context) {
	k.status.Name = k.name
	delay := minDelay
	for ctx.Err() == nil {
		if why := k.check(); why != Running {
			k.become(why, 0)
			k.pause(ctx, nil)
			delay = minDelay
			continue
		}
		if k.once(ctx) {
			delay = minDelay
		}
		if ctx.Err() != nil || k.check() != Running {
			continue
		}
		k.become(Waiting, 0)
		timer := time.NewTimer(delay)
		k.pause(ctx, timer.C)
		timer.Stop()
		delay = min(2*delay, maxDelay)
	}
	k.become(Disabled, 0)
}

// once runs the child to its end and says whether it had been healthy.
func (k *keeper) once(ctx context.Context) bool {
	began := time.Now()
	k.status.Starts++
	p, err := k.start()
	if err != nil {
		k.status.LastEnd = err.Error()
		return false
	}
	k.become(Running, p.pid)
	select {
	case k.status.LastEnd = <-p.ended:
	case <-ctx.Done():
		k.status.LastEnd = end(p)
	}
	return time.Since(began) >= steady
}

// end asks the child to end, then makes it.
func end(p *process) string {
	kill := time.NewTimer(grace)
	defer kill.Stop()
	// A signal fails only for a child that has ended, and then ended tells.
	_ = p.signal(syscall.SIGTERM)
	select {
	case how := <-p.ended:
		return how
	case <-kill.C:
		_ = p.signal(syscall.SIGKILL)
		return <-p.ended
	}
}

func (k *keeper) become(s State, pid int) {
	k.status.State, k.status.PID = s, pid
	k.report(k.status)
}

func (k *keeper) pause(ctx context.Context, until <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-k.wake:
	case <-until:
	}
}
