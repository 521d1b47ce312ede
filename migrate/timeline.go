// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// timeline measures a move, or the target's part of it, on one node's clock.
type timeline struct {
	node  cluster.NodeID
	begun time.Time

	mu     sync.Mutex
	report cluster.MoveReport
	gapAt  time.Time
}

func newTimeline(node cluster.NodeID) *timeline {
	return &timeline{node: node, begun: time.Now()}
}

// measure begins a part; the function it returns ends it.
func (t *timeline) measure(name string) func(bytes int64) {
	start := time.Now()
	return func(bytes int64) {
		took := time.Since(start)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.report.Phases = append(t.report.Phases, cluster.PhaseTime{
			Name: name, Start: cluster.Duration(start.Sub(t.begun)), Took: cluster.Duration(took),
			Bytes: bytes, Node: t.node, InGap: !t.gapAt.IsZero() && t.report.Gap == 0,
		})
	}
}

// openGap is the moment from which the application serves nobody.
func (t *timeline) openGap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gapAt = time.Now()
}

// closeGap is the moment in which it is known to serve again.
func (t *timeline) closeGap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Gap = cluster.Duration(time.Since(t.gapAt))
}

// graft takes in what the peer measured since at, which is on this node's clock; the
// peer's own times are durations only.
func (t *timeline) graft(at time.Time, phases []cluster.PhaseTime) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range phases {
		p.Start += cluster.Duration(at.Sub(t.begun))
		p.InGap = true
		t.report.Phases = append(t.report.Phases, p)
	}
}

// change updates the report's own figures.
func (t *timeline) change(f func(*cluster.MoveReport)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.report)
}

// snapshot is the report as it is now.
func (t *timeline) snapshot() *cluster.MoveReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.report
	r.Phases = append([]cluster.PhaseTime{}, r.Phases...)
	return &r
}
