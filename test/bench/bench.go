// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/test/lab"
)

const (
	wholeRun = "test/bench/results.json"
	// downWithin bounds taking the cluster down, also after an interrupt.
	downWithin = 2 * time.Minute
)

// bench is one run.
type bench struct {
	lab     *lab.Lab
	client  *api.Client
	changed chan struct{} // one slot: something in the cluster is not as it was
	quick   bool
	only    *regexp.Regexp
	// measured is what a cluster with this storage is for.
	measured []section
}

// section measures some results together.
type section struct {
	results []string
	run     func(context.Context) ([]result, error)
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// measure does a whole run. What could be measured is printed and written also when
// something else failed.
func measure(ctx context.Context, o options) error {
	benches, err := newBenches(o)
	if err != nil {
		return err
	}
	var all []result
	for _, b := range benches {
		if !b.wanted() || ctx.Err() != nil {
			continue
		}
		found, failed := b.onCluster(ctx)
		all, err = append(all, found...), errors.Join(err, failed)
	}
	if len(all) == 0 {
		return err
	}
	missed := show(os.Stdout, all)
	out := o.out
	if !o.quick && o.only == "" {
		out = cmp.Or(out, wholeRun)
	}
	if out != "" {
		err = errors.Join(err, write(out, all))
	}
	if o.strict && missed > 0 {
		err = errors.Join(err, fmt.Errorf("%d limits are missed", missed))
	}
	return err
}

// onCluster brings the cluster up, measures, and takes it down whatever happened.
func (b *bench) onCluster(ctx context.Context) (all []result, err error) {
	begun := time.Now()
	say("== Cluster %s: %d nodes with %s (the first time its images are built: a few minutes)", b.lab.Name, b.lab.Nodes, b.lab.Backend)
	if err := b.lab.Down(ctx); err != nil {
		return nil, err
	}
	defer func() {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), downWithin)
		defer cancel()
		err = errors.Join(err, b.lab.Down(down))
		say("== Measured in %v", time.Since(begun).Round(time.Second))
	}()
	if err := b.lab.Up(ctx); err != nil {
		return nil, err
	}
	if b.client, err = b.lab.Client(); err != nil {
		return nil, err
	}
	defer b.client.Close()
	defer b.listen(ctx)()
	return b.sections(ctx)
}

func (b *bench) wants(s section) bool { return slices.ContainsFunc(s.results, b.only.MatchString) }

func (b *bench) wanted() bool { return slices.ContainsFunc(b.measured, b.wants) }

// sections measures what is wanted. A section that fails does not keep the next ones from being measured.
func (b *bench) sections(ctx context.Context) (all []result, err error) {
	for _, s := range b.measured {
		if !b.wants(s) || ctx.Err() != nil {
			continue
		}
		say("== %s   (load of this machine: %s)", s.results[0], load1())
		found, failed := s.run(ctx)
		if failed != nil {
			failed = fmt.Errorf("%s: %w", s.results[0], failed)
			say("   failed: %v", failed)
		}
		all, err = append(all, found...), errors.Join(err, failed)
	}
	return all, errors.Join(err, ctx.Err())
}

// load1 is how many processes wanted a processor in the last minute: more than there are
// processors, and the figures are not worth much.
func load1() string {
	text, err := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	if err != nil || first == "" {
		return "unknown"
	}
	return first
}

// listen wakes whoever waits in until when something has changed in the cluster. The
// function it returns ends that.
func (b *bench) listen(ctx context.Context) (stop func()) {
	b.changed = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			// A stream that breaks is begun again; until looks from time to time without it.
			_ = b.client.Events(ctx, 0, func(api.Event) error {
				select {
				case b.changed <- struct{}{}:
				default:
				}
				return nil
			})
		}
	}()
	return func() { cancel(); <-ended }
}

// until asks at each change in the cluster whether it is as it should be.
func (b *bench) until(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := ask()
		if yes && err == nil {
			return nil
		}
		select {
		case <-b.changed:
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}

// choose is how much is measured, in a whole run and in a quick one.
func choose[T any](b *bench, whole, quick T) T {
	if b.quick {
		return quick
	}
	return whole
}
