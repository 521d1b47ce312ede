// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Outcome is how a check ended.
type Outcome string

// Outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Result is what became of a check.
type Result struct {
	Name    string
	Outcome Outcome
	Took    time.Duration
	Lines   []string // what it said: why it failed or was skipped
}

// Run runs checks without the testing package: those whose name matches, one after the other. tell is called as each
// ends. Whoever ends ctx ends the check that runs, and what it made is still cleaned up; the others are left out.
func Run(ctx context.Context, only Pattern, tell func(Result), checks func(T)) error {
	root := &running{only: only, tell: tell, parts: 1}
	root.run(ctx, checks)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("check the contract: %w", err)
	}
	return nil
}

// running is a check that runs, and the T that it says to how it goes.
type running struct {
	name string
	only Pattern // for the names of its parts, the first for those directly in it
	tell func(Result)

	mu       sync.Mutex
	ctx      context.Context //nolint:containedctx // T has it, as *testing.T does
	failed   bool
	skipped  bool
	lines    []string
	parts    int
	cleanups []func()
}

// run runs a check in a goroutine of its own, which Fatal and Skip end, and then cleans up.
func (r *running) run(ctx context.Context, check func(T)) {
	begin := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.ctx = ctx
	r.guarded(func() { check(r) })
	cancel()
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = r.cleanups[:len(r.cleanups)-1]
		r.guarded(last)
	}
	if result := r.result(time.Since(begin)); r.parts == 0 || result.Outcome == Failed {
		r.tell(result)
	}
}

func (r *running) guarded(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		f()
	}()
	<-done
}

func (r *running) result(took time.Duration) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := Result{Name: r.name, Outcome: Passed, Took: took, Lines: slices.Clone(r.lines)}
	switch {
	case r.failed:
		result.Outcome = Failed
	case r.skipped:
		result.Outcome = Skipped
	}
	return result
}

// Run counts a part only where it matches, and then tells of it by itself.
func (r *running) Run(name string, check func(T)) bool {
	r.parts++
	if !r.only.matches(name) || r.ctx.Err() != nil {
		return true
	}
	part := &running{name: name, only: r.only.below(), tell: r.tell}
	if r.name != "" {
		part.name = r.name + "/" + name
	}
	part.run(r.ctx, check)
	return part.result(0).Outcome != Failed
}

func (r *running) Helper()                  {}
func (r *running) Context() context.Context { return r.ctx }
func (r *running) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }

func (r *running) TempDir() string {
	dir, err := os.MkdirTemp("", "flocker-contract-")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			r.Error(err)
		}
	})
	return dir
}

func (r *running) Log(args ...any)                 { r.say(nil, fmt.Sprint(args...)) }
func (r *running) Logf(format string, args ...any) { r.say(nil, fmt.Sprintf(format, args...)) }
func (r *running) Error(args ...any)               { r.say(&r.failed, fmt.Sprint(args...)) }
func (r *running) Errorf(format string, args ...any) {
	r.say(&r.failed, fmt.Sprintf(format, args...))
}

func (r *running) Fatal(args ...any) {
	r.say(&r.failed, fmt.Sprint(args...))
	runtime.Goexit()
}

func (r *running) Fatalf(format string, args ...any) {
	r.say(&r.failed, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (r *running) Skip(args ...any) {
	r.say(&r.skipped, fmt.Sprint(args...))
	runtime.Goexit()
}

func (r *running) Skipf(format string, args ...any) {
	r.say(&r.skipped, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (r *running) say(mark *bool, line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	if mark != nil {
		*mark = true
	}
}
