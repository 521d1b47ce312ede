// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeChild is a child whose life the test decides.
type fakeChild struct {
	mu      sync.Mutex // guards state and last, which the keeper and the test share while both run
	state   State
	starts  []time.Duration // since the test's begin
	lives   time.Duration   // of each life; zero is for ever
	deaf    bool            // to SIGTERM
	fails   bool
	signals []syscall.Signal
	began   time.Time
	last    ChildStatus
}

func (f *fakeChild) check() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *fakeChild) become(s State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
}

func (f *fakeChild) report(s ChildStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = s
}

func (f *fakeChild) reported() ChildStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *fakeChild) start() (*process, error) {
	f.starts = append(f.starts, time.Since(f.began))
	if f.fails {
		return nil, errors.New("no such program")
	}
	ended := make(chan string, 2)
	if f.lives > 0 {
		time.AfterFunc(f.lives, func() { ended <- "exit status 1" })
	}
	return &process{pid: 42, ended: ended, signal: func(s syscall.Signal) error {
		f.signals = append(f.signals, s)
		if s == syscall.SIGKILL || !f.deaf {
			ended <- "killed"
		}
		return nil
	}}, nil
}

// keepFor runs a keeper over the child for a time, then ends it.
func keepFor(t *testing.T, f *fakeChild, d time.Duration, meanwhile func(wake chan<- struct{})) {
	t.Helper()
	f.began = time.Now()
	k := &keeper{
		name: "agent", start: f.start, check: f.check, report: f.report, wake: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.keep(ctx) }()
	if meanwhile != nil {
		meanwhile(k.wake)
	}
	<-time.After(d)
	synctest.Wait()
	cancel()
	<-done
}

func TestCrashingChildIsStartedLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeChild{state: Running, lives: time.Millisecond}
		keepFor(t, f, 17*time.Second, nil)
		want := []time.Duration{
			0, 201 * time.Millisecond, 602 * time.Millisecond, 1403 * time.Millisecond, 3004 * time.Millisecond,
			6205 * time.Millisecond, 11206 * time.Millisecond, 16207 * time.Millisecond,
		}
		if !slices.Equal(f.starts, want) {
			t.Errorf("starts at %v; want %v", f.starts, want)
		}
	})
}

func TestHealthyLifeMakesTheNextStartQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeChild{state: Running, lives: 10 * time.Second}
		keepFor(t, f, 31*time.Second, nil)
		want := []time.Duration{0, 10200 * time.Millisecond, 20400 * time.Millisecond, 30600 * time.Millisecond}
		if !slices.Equal(f.starts, want) {
			t.Errorf("starts at %v; want %v", f.starts, want)
		}
	})
}

func TestMissingProgramIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeChild{state: Running, fails: true}
		keepFor(t, f, 500*time.Millisecond, func(chan<- struct{}) {
			synctest.Wait()
			if got := f.reported(); got.State != Waiting || got.LastEnd != "no such program" {
				t.Errorf("status = %+v; want waiting with the reason", got)
			}
		})
		if len(f.starts) != 2 {
			t.Errorf("%d starts in 0.5 s; want 2", len(f.starts))
		}
	})
}

func TestHeldChildStartsOnlyAfterRelease(t *testing.T) {
	for _, state := range []State{Held, Disabled} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeChild{state: state}
			keepFor(t, f, time.Second, func(wake chan<- struct{}) {
				<-time.After(time.Hour)
				synctest.Wait()
				if got := f.reported().State; got != state {
					t.Errorf("%s child has status %q", state, got)
				}
				f.become(Running)
				wake <- struct{}{}
			})
			if want := []time.Duration{time.Hour}; !slices.Equal(f.starts, want) {
				t.Errorf("starts at %v; want %v", f.starts, want)
			}
		})
	}
}

func TestHoldDuringALifeCountsAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeChild{state: Running, lives: time.Second}
		keepFor(t, f, time.Minute, func(chan<- struct{}) {
			synctest.Wait()
			f.become(Held)
		})
		if len(f.starts) != 1 {
			t.Errorf("starts at %v; want one", f.starts)
		}
	})
}

func TestShutdownAsksThenKills(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeChild{state: Running, deaf: deaf}
			keepFor(t, f, time.Second, nil)
			want, after := []syscall.Signal{syscall.SIGTERM}, time.Second
			if deaf {
				want, after = append(want, syscall.SIGKILL), time.Second+grace
			}
			if !slices.Equal(f.signals, want) || time.Since(f.began) != after {
				t.Errorf("deaf %v: signals %v after %v; want %v after %v", deaf, f.signals, time.Since(f.began), want, after)
			}
		})
	}
}
