// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flocker-project/flocker/migrate"
)

// victim is what dies, or goes away, at a point of a move.
type victim struct {
	name  string
	kill  func(w *world, source, target *node, away time.Duration)
	short []string // the points at which it dies in a short run
}

func victims() []victim {
	return []victim{
		{"source", func(_ *world, source, _ *node, away time.Duration) { source.current().crash(away) }, migrate.SourcePoints()},
		{"target", func(_ *world, _, target *node, away time.Duration) { target.current().crash(away) }, migrate.TargetPoints()},
		{"control", func(w *world, _, _ *node, away time.Duration) { w.service.crash(away) }, []string{
			migrate.AfterCopying, migrate.AfterNote, migrate.AfterHandOver, migrate.BeforeCommit,
		}},
		{"docker of the source", func(w *world, source, _ *node, away time.Duration) { source.dockerAway(away) }, []string{
			migrate.BeforeCutting, migrate.BeforeCleaned,
		}},
		{"docker of the target", func(w *world, _, target *node, away time.Duration) { target.dockerAway(away) }, []string{
			migrate.BeforePreparing, migrate.BeforeResume, migrate.AfterCommit,
		}},
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
			w.deployIn("db", w.nodes[0], []string{"", "", "shared"}, nil)
			for _, away := range aways() {
				for _, p := range slices.Concat(migrate.SourcePoints(), migrate.TargetPoints()) {
					if testing.Short() && !slices.Contains(v.short, p) {
						continue
					}
					if !w.dies(v, p, away) {
						t.Errorf("nothing came to the point %s", p)
					}
				}
			}
		})
	}
}

func aways() []time.Duration {
	if testing.Short() {
		return []time.Duration{50 * time.Millisecond}
	}
	return []time.Duration{0, 700 * time.Millisecond}
}

// Two die in one move, each at a point of its own.
func TestTwoDeathsInOneMove(t *testing.T) {
	t.Parallel()
	moves := 24
	if testing.Short() {
		moves = 4
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, 2)
	w.deployIn("db", w.nodes[0], []string{"", "", "shared"}, nil)
	dice := rand.New(rand.NewPCG(seed, 0))
	for range moves {
		away := time.Duration(dice.IntN(500)) * time.Millisecond
		one, other := victims()[dice.IntN(len(victims()))], victims()[dice.IntN(len(victims()))]
		sourcePoint := migrate.SourcePoints()[dice.IntN(len(migrate.SourcePoints()))]
		targetPoint := migrate.TargetPoints()[dice.IntN(len(migrate.TargetPoints()))]
		t.Logf("%s at %s and %s at %s", one.name, sourcePoint, other.name, targetPoint)
		source, target := w.nodes[0], w.nodes[1]
		if target.heard("db") {
			source, target = target, source
		}
		target.at(targetPoint, func() { other.kill(w, source, target, away) })
		w.dies(one, sourcePoint, away)
		for _, n := range w.nodes { // they may not have come there
			n.at(sourcePoint, func() {})
			n.at(targetPoint, func() {})
		}
	}
}

// dies moves the application away from where it is; the victim dies when the source, or the target, comes to the point.
// It says whether that happened.
func (w *world) dies(v victim, point string, away time.Duration) bool {
	w.t.Helper()
	source, target := w.nodes[0], w.nodes[1]
	if target.heard("db") {
		source, target = target, source
	}
	at := target
	if slices.Contains(migrate.SourcePoints(), point) {
		at = source
	}
	began := time.Now()
	var passed atomic.Bool
	at.at(point, func() {
		passed.Store(true)
		v.kill(w, source, target, away)
	})
	m := w.move("db", target)
	w.t.Logf("away for %v at %s: %s after %v: %s", away, point, m.Phase, time.Since(began).Round(time.Millisecond), m.Reason)
	if w.t.Failed() {
		w.t.Fatalf("the promises are broken after %s died at %s", v.name, point)
	}
	return passed.Load()
}
