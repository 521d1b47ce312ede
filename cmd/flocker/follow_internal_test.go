// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vbauerster/mpb/v8"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// course is a move as it is told from its beginning to its end.
func course() []api.MoveInfo {
	at := func(phase cluster.MovePhase, g *cluster.MoveProgress) api.MoveInfo {
		return api.MoveInfo{
			Move:       cluster.Move{ID: "m1", Phase: phase, Applications: []string{"db"}},
			SourceName: "node1", TargetName: "node2", Progress: g,
		}
	}
	copying := func(done int64) *cluster.MoveProgress {
		return &cluster.MoveProgress{Step: "copy round 1", Done: done, Total: 100 << 20, Rate: 10 << 20}
	}
	return []api.MoveInfo{
		at(cluster.MovePlanned, nil), at(cluster.MovePreparing, nil), at(cluster.MoveCopying, copying(1<<20)), at(cluster.MoveCopying, copying(50<<20)),
		at(cluster.MoveCutting, copying(100<<20)), at(cluster.MoveHandedOver, nil), at(cluster.MoveCommitted, nil), at(cluster.MoveCleaned, nil),
	}
}

func TestEachPhaseIsOneLineWhereNoBarCanBe(t *testing.T) {
	var out bytes.Buffer
	f := (printer{out: &out}).follower()
	for _, m := range course() {
		if err := f.update(m); err != nil {
			t.Fatal(err)
		}
	}
	f.end()
	want := []string{
		"db to node2: planned",
		"db to node2: preparing",
		"db to node2: copy round 1: 1 MiB of 100 MiB, 10 MiB/s, 9.9s left",
		"db to node2: handed-over",
		"db to node2: committed",
		"db to node2: done",
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(out.String()), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestBarsShowStepRateAndTimeLeft(t *testing.T) {
	var out bytes.Buffer
	f := newBars(mpb.New(mpb.WithOutput(&out), mpb.WithAutoRefresh(), mpb.WithRefreshRate(time.Millisecond)))
	for _, m := range course()[:4] {
		if err := f.update(m); err != nil {
			t.Fatal(err)
		}
	}
	f.end()
	got := out.String()
	if half := strings.Contains(got, "=>---"); !half || !strings.Contains(got, "db to node2") || !strings.Contains(got, "] 50 MiB of 100 MiB, 10 MiB/s, 5s left") {
		t.Errorf("the last frame is %q; want step, rate and time left", got)
	}
}

func TestDocumentsAreOneALine(t *testing.T) {
	var out bytes.Buffer
	f := (printer{out: &out, json: true, log: slog.New(slog.DiscardHandler)}).follower()
	for _, m := range course() {
		if err := f.update(m); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != len(course()) {
		t.Errorf("%d lines; want %d", got, len(course()))
	}
}

func TestRatesAreDecimalOrBinaryAsWritten(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "1000": 1000, "50MB": 50_000_000, "50MB/s": 50_000_000, "1.5GB": 1_500_000_000, "50M": 50 << 20, "50MiB": 50 << 20,
		"1kB": 1000, "64B": 64, "1TB": 1_000_000_000_000,
	} {
		if got, err := parseRate(text); err != nil || got != want {
			t.Errorf("parseRate(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"fast", "0", "-1", "B", "MB", "1e9", "50mb", "9999999999TB", "50 MB"} {
		if got, err := parseRate(text); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("parseRate(%q) = %d, %v; want ErrInvalid", text, got, err)
		}
	}
}

func TestErrorsHaveExitCodes(t *testing.T) {
	problem := func(code string) error {
		return fmt.Errorf("POST /v2/moves: %w", &api.Problem{Status: 400, Code: code, Detail: "move db: no"})
	}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("disk on fire"), exitFailed, "flocker: disk on fire\n"},
		{problem("invalid"), exitUsage, "flocker: move db: no\n"},
		{problem("not-found"), exitNotFound, "flocker: move db: no\n"},
		{problem("exists"), exitConflict, "flocker: move db: no\n"},
		{problem("precondition"), exitConflict, "flocker: move db: no\n"},
		{problem("forbidden"), exitForbidden, "flocker: move db: no\n"},
		{problem("unavailable"), exitUnavailable, "flocker: move db: no\n"},
		{problem("internal"), exitFailed, "flocker: move db: no\n"},
		{&moveError{api.MoveInfo{Move: cluster.Move{Phase: cluster.MoveAborted}}}, exitMoveFailed, "flocker: move of"},
		{fmt.Errorf("GET /v2/status: %w: no", cluster.ErrUnavailable), exitUnavailable, "flocker: unavailable: no\nIs the control service running"},
	} {
		var out bytes.Buffer
		if code := report(&out, nil, c.err); code != c.code || !strings.HasPrefix(out.String(), c.text) {
			t.Errorf("report(%v) = %d, %q; want %d, %q…", c.err, code, out.String(), c.code, c.text)
		}
	}
	if code := report(io.Discard, nil, t.Context().Err()); code != 0 {
		t.Errorf("report(nil) = %d", code)
	}
}
