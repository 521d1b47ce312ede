// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"slices"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/migrate"
)

// TestAgentDies kills the agent of the source or of the target at a point of a move. With nobody's help the move ends
// and the application serves on exactly one node.
func TestAgentDies(t *testing.T) {
	s := enter(t)
	source, target := true, false
	for i, c := range []struct {
		ofSource bool
		point    string
		want     cluster.MovePhase // empty where either end is right
	}{
		{source, migrate.AfterPreparing, cluster.MoveCleaned},
		{source, migrate.BeforeCutting, cluster.MoveCleaned},
		{source, migrate.AfterStop, cluster.MoveAborted},
		{source, migrate.AfterRelease, cluster.MoveAborted},
		{source, migrate.AfterNote, cluster.MoveAborted},
		{source, migrate.AfterHandOver, cluster.MoveCleaned},
		{source, migrate.BeforeCleaned, cluster.MoveCleaned},
		{target, migrate.BeforeResume, ""},
		{target, migrate.AfterMount, ""},
		{target, migrate.AfterStart, ""},
		{target, migrate.BeforeCommit, ""},
		{target, migrate.AfterCommit, cluster.MoveCleaned},
	} {
		app, victim := []string{"postgres", "redis"}[i%2], "target"
		if c.ofSource {
			victim = "source"
		}
		s.scene(app+" "+victim+" "+c.point, func(s *stage) {
			from, to := s.home(app), s.others(app)[i/2%2]
			node := to
			if c.ofSource {
				node = from
			}
			s.must(s.Drill(s.ctx, node, c.point))
			m := s.ended(s.begin(app, to))
			died, err := s.Drilled(s.ctx, node, c.point)
			s.must(err)
			s.Logf("%s: %s", m.Phase, m.Reason)
			if !died {
				s.Errorf("the agent of %s never came to %s", node, c.point)
			}
			if c.want != "" && m.Phase != c.want {
				s.Errorf("the move is %s: %s; want it %s", m.Phase, m.Reason, c.want)
			}
		})
	}
}

// TestDaemonDies kills the control service or an engine while a move is under way.
func TestDaemonDies(t *testing.T) {
	s := enter(t)
	for _, c := range []struct {
		app, process string
		victim       func(m api.MoveInfo) string
		when         cluster.MovePhase
	}{
		{"redis", "control", controlHost, cluster.MoveCopying},
		{"postgres", "control", controlHost, cluster.MoveCutting},
		{"redis", "docker", sourceOf, cluster.MoveCopying},
		{"postgres", "docker", targetOf, cluster.MoveCopying},
		{"redis", "docker", targetOf, cluster.MoveCutting},
		{"redis", "docker", sourceOf, cluster.MoveCutting},
	} {
		s.scene(c.app+" "+c.process+" "+string(c.when), func(s *stage) {
			m := s.begin(c.app, s.others(c.app)[0])
			// A phase may be over before it is seen; the kill then comes in a later one.
			now, err := s.WaitMove(s.ctx, m.ID, "to be "+string(c.when), func(m api.MoveInfo) bool { return since(m.Phase, c.when) })
			s.must(err)
			s.must(s.Kill(s.ctx, c.victim(now), c.process))
			m = s.ended(m)
			s.Logf("killed when it was %s; it is %s: %s", now.Phase, m.Phase, m.Reason)
		})
	}
}

// since says whether a move has come to a phase or has gone beyond it.
func since(phase, when cluster.MovePhase) bool {
	way := []cluster.MovePhase{cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting}
	at := slices.Index(way, phase)
	return at < 0 || at >= slices.Index(way, when)
}

func controlHost(api.MoveInfo) string { return "control" }
func sourceOf(m api.MoveInfo) string  { return m.SourceName }
func targetOf(m api.MoveInfo) string  { return m.TargetName }
