// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/flocker-project/flocker/migrate"
)

// victim is what dies, or goes away, at a point of a move.
type victim struct {
	name string
	kill func(w *world, source, target *node, away time.Duration)
}

func victims() []victim {
	return []victim{
		{"source", func(_ *world, source, _ *node, away time.Duration) { source.current().crash(away) }},
		{"target", func(_ *world, _, target *node, away time.Duration) { target.current().crash(away) }},
		{"control", func(w *world, _, _ *node, away time.Duration) { w.service.crash(away) }},
		{"docker of the source", func(w *world, source, _ *node, away time.Duration) { source.dockerAway(away) }},
		{"docker of the target", func(w *world, _, target *node, away time.Duration) { target.dockerAway(away) }},
	}
}

// dockerAway makes the runtime unreachable for a while; containers run on.
func (n *node) dockerAway(d time.Duration) {
	n.docker.Store(true)
	n.w.later.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		<-timer.C
		n.docker.Store(false)
	})
}

// Each victim dies at each point that source and target pass: with nobody's help a move completes or never happened, no
// acknowledged record is lost, and no two nodes serve. The application goes to and fro in one cluster for each victim.
func TestDeathAtEachPoint(t *testing.T) {
	t.Parallel()
	for _, v := range victims() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			w.deploy("db", w.nodes[0], 2, nil)
			for _, away := range aways() {
				for _, p := range migrate.SourcePoints() {
					w.dies(v, p, true, away)
				}
				for _, p := range migrate.TargetPoints() {
					w.dies(v, p, false, away)
				}
			}
		})
	}
}

func aways() []time.Duration {
	if testing.Short() {
		return []time.Duration{50 * time.Millisecond}
	}
	return []time.Duration{0, 50 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second}
}

// dies moves the application away from where it is, while the victim dies when the source, or the target, comes to the point.
func (w *world) dies(v victim, point string, ofSource bool, away time.Duration) {
	w.t.Helper()
	source, target := w.nodes[0], w.nodes[1]
	if target.heard("db") {
		source, target = target, source
	}
	at := target
	if ofSource {
		at = source
	}
	began := time.Now()
	var passed atomic.Bool
	at.at(point, func() {
		passed.Store(true)
		v.kill(w, source, target, away)
	})
	m := w.move("db", target)
	if !passed.Load() {
		w.t.Errorf("nothing came to the point %s", point)
	}
	w.t.Logf("away for %v at %s: %s after %v: %s", away, point, m.Phase, time.Since(began).Round(time.Millisecond), m.Reason)
	if w.t.Failed() {
		w.t.Fatalf("the promises are broken after %s died at %s", v.name, point)
	}
}
