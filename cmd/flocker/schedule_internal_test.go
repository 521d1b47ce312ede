// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func TestASnapshotShowsWhichScheduleMadeIt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	made := cluster.KeptSnapshot{Name: "nightly-20260302-000000", Scheduled: &cluster.Scheduled{Name: "nightly"}}
	if err := (printer{out: &out}).snapshots([]api.SnapshotInfo{{KeptSnapshot: made, DatasetName: "db", State: api.SnapshotTaken}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "taken, by schedule nightly") {
		t.Errorf("got\n%s", out.String())
	}
}

func TestAScheduleShowsWhenItIsDueOrWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	x := api.ScheduleInfo{Next: time.Date(2026, 3, 2, 1, 0, 0, 0, time.FixedZone("east", 3600))}
	if got := nextOf(x); got != "next at 2026-03-02 00:00 UTC" {
		t.Errorf("got %s", got)
	}
	x.Reason = "no room"
	if got := nextOf(x); got != "waits: no room" {
		t.Errorf("got %s", got)
	}
	x.Paused = true
	if got := nextOf(x); got != "paused" {
		t.Errorf("got %s", got)
	}
}
