// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/flocker-project/flocker/internal/run"
)

// unlikely makes a command line that nobody else has.
func unlikely() string { return strconv.FormatInt(time.Now().UnixNano(), 10) }

func TestProcessIsFoundAndEnded(t *testing.T) {
	seconds := unlikely()
	for _, kindly := range []time.Duration{0, time.Minute} {
		cmd := run.Command(t.Context(), "sleep", seconds)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ours := func(args []string) bool { return slices.Equal(args, []string{"sleep", seconds}) }
		found, err := run.Processes(ours)
		if err != nil || len(found) != 1 || found[0].Pid != cmd.Pid() {
			t.Fatalf("Processes = %v, %v; want %d", found, err, cmd.Pid())
		}
		if err := found[0].End(t.Context(), kindly); err != nil {
			t.Fatal(err)
		}
		// It has ended, although nobody has waited for it yet.
		if left, err := run.Processes(ours); err != nil || len(left) != 0 {
			t.Errorf("Processes after End = %v, %v", left, err)
		}
		if err := found[0].End(t.Context(), kindly); err != nil {
			t.Errorf("second End = %v", err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it ended by itself")
		}
	}
}

func TestProcessThatDoesNotListenIsKilled(t *testing.T) {
	seconds := unlikely()
	cmd := run.Command(t.Context(), "env", "--ignore-signal=TERM", "sleep", seconds)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, err := run.Processes(func(args []string) bool { return slices.Contains(args, seconds) })
	if err != nil || len(found) != 1 {
		t.Fatalf("Processes = %v, %v; want one", found, err)
	}
	if err := found[0].End(t.Context(), 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended by itself")
	}
}
