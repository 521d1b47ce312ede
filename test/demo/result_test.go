// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/test/load"
)

// Other programs read the demo's last line.
func TestLastLineHasItsNames(t *testing.T) {
	line, err := json.Marshal(result{Backend: "btrfs", Baseline: 7, Moves: []moved{{
		App: "redis", Mode: "restart", From: "node1", To: "node2", Bytes: 1, Rounds: 2, Gap: 3,
		knocked: knocked{Refused: 0, LongestWait: 4, attempts: 5},
		Phases:  map[string]int64{"stop": 6},
		Verdict: load.Verdict{Acknowledged: 8},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"backend":"btrfs","moves":[{"app":"redis","mode":"restart","from":"node1","to":"node2","bytes":1,"rounds":2,"gap_ms":3,` +
		`"refused":0,"longest_wait_ms":4,"phases":{"stop":6},"acknowledged":8,"lost":0,"duplicated":0}],"baseline_gap_ms":7}`
	if diff := cmp.Diff(want, string(line)); diff != "" {
		t.Errorf("last line (-want +got):\n%s", diff)
	}
}
