// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/internal/run"
)

func TestOutputOfAProgramThatReadsItsInput(t *testing.T) {
	cmd := run.Command(t.Context(), "tr", "a-z", "A-Z")
	cmd.Stdin = strings.NewReader("dataset")
	out, err := cmd.Output()
	if err != nil || string(out) != "DATASET" {
		t.Fatalf("Output() = %q, %v; want DATASET", out, err)
	}
	if cmd.Elapsed() <= 0 {
		t.Error("Elapsed() is not measured")
	}
}

func TestFailureCarriesCommandStatusAndWords(t *testing.T) {
	err := run.Command(t.Context(), "sh", "-c", "echo no such pool >&2; exit 3").Run()
	failure, ok := errors.AsType[*run.Error](err)
	if !ok || failure.ExitCode() != 3 || failure.Stderr != "no such pool" {
		t.Fatalf("Run() = %#v; want exit 3 with the program's words", err)
	}
	if !strings.Contains(err.Error(), "no such pool") || !strings.Contains(err.Error(), "sh -c") {
		t.Errorf("message %q lacks the command or its words", err)
	}
}

func TestLongErrorOutputKeepsItsEnd(t *testing.T) {
	err := run.Command(t.Context(), "sh", "-c", "yes 1234567 | head -n 2000 >&2; echo the end >&2; exit 1").Run()
	failure, _ := errors.AsType[*run.Error](err)
	if failure == nil || len(failure.Stderr) > 4096 || !strings.HasSuffix(failure.Stderr, "the end") {
		t.Fatalf("Run() = %v; want the last 4096 bytes", err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	err := run.Command(t.Context(), "no-such-program-here").Run()
	if !errors.Is(err, run.ErrNotInstalled) || !strings.Contains(err.Error(), "no-such-program-here") {
		t.Fatalf("Run() = %v; want ErrNotInstalled naming the program", err)
	}
}

func TestCancelledCommandEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := run.Command(ctx, "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait() = %v after cancel; want it to say so", err)
	}
}

func TestDetachedProgramWritesItsLog(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "done")
	if err := run.Command(t.Context(), "mkfifo", fifo).Run(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	if _, err := run.Detach(log, "sh", "-c", "echo hello; echo > "+fifo); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(fifo); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(log)
	if err != nil || string(got) != "hello\n" {
		t.Fatalf("log = %q, %v; want hello", got, err)
	}
}
