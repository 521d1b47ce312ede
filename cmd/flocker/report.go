// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/flocker-project/flocker/api"
)

// report shows what was measured of a move: each phase, and which of them made up the gap.
func (p printer) report(m api.MoveInfo) error {
	r := m.Report
	if r == nil || len(r.Phases) == 0 {
		return nil
	}
	names := map[string]string{string(m.Source): m.SourceName, string(m.Target): m.TargetName}
	t := p.table("PHASE", "NODE", "START", "TOOK", "COPIED", "GAP")
	for _, phase := range r.Phases {
		inGap := ""
		if phase.InGap {
			inGap = "yes"
		}
		node := names[string(phase.Node)]
		if node == "" {
			node = short(string(phase.Node))
		}
		t.row(phase.Name, node, "+"+startOf(phase.Start.Std().Milliseconds()), startOf(phase.Took.Std().Milliseconds()), bytesOf(phase.Bytes), inGap)
	}
	if err := t.end(); err != nil {
		return err
	}
	text := fmt.Sprintf("Copied %s in %d rounds", bytesOrNothing(r.Bytes), r.Rounds)
	if r.Gap > 0 {
		text += "; gap " + took(r.Gap)
		if r.PredictedGap > 0 {
			text += " (predicted " + took(r.PredictedGap) + ")"
		}
	}
	if !r.Converged && r.Gap > 0 {
		text += "; the rounds did not get small enough for the gap budget"
	}
	return p.say("%s.", text)
}

// startOf writes milliseconds so that a column of them lines up.
func startOf(ms int64) string {
	if ms < 10_000 {
		return fmt.Sprintf("%dms", ms)
	}
	return fmt.Sprintf("%.1fs", float64(ms)/1000)
}

func bytesOrNothing(n int64) string {
	if n == 0 {
		return "nothing"
	}
	return bytesOf(n)
}
