// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flocker-project/flocker/backend/backendtest/contract"
	"github.com/flocker-project/flocker/cluster"
)

// outcomes runs checks and gives each result as "name: outcome: first line".
func outcomes(ctx context.Context, t *testing.T, pattern string, checks func(contract.T)) (all []string, err error) {
	t.Helper()
	only, err := contract.ParsePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	err = contract.Run(ctx, only, func(r contract.Result) {
		line := r.Name + ": " + string(r.Outcome)
		if len(r.Lines) > 0 {
			first, _, _ := strings.Cut(strings.Join(r.Lines, "; "), "\n")
			line += ": " + first
		}
		all = append(all, line)
	}, checks)
	return all, err
}

func several(t contract.T) {
	t.Run("Good", func(t contract.T) { t.Log("hm") })
	t.Run("Group", func(t contract.T) {
		t.Run("Bad", func(t contract.T) {
			t.Errorf("%d is wrong", 1)
			t.Fatal("over")
			t.Error("not reached")
		})
		t.Run("Left", func(t contract.T) { t.Skip("no machine") })
		t.Run("Panics", func(contract.T) { panic("oh") })
	})
	t.Run("Own", func(t contract.T) {
		t.Run("Fine", func(contract.T) {})
		t.Error("afterwards")
	})
}

func TestEveryCheckIsToldOfOnce(t *testing.T) {
	for pattern, want := range map[string][]string{
		"": {
			"Good: passed: hm", "Group/Bad: failed: 1 is wrong; over", "Group/Left: skipped: no machine", "Group/Panics: failed: panic: oh",
			"Own/Fine: passed", "Own: failed: afterwards",
		},
		"Group/L":  {"Group/Left: skipped: no machine"},
		"^G":       {"Good: passed: hm", "Group/Bad: failed: 1 is wrong; over", "Group/Left: skipped: no machine", "Group/Panics: failed: panic: oh"},
		"Good/any": {"Good: passed: hm"},
		"Nothing":  nil,
	} {
		got, err := outcomes(t.Context(), t, pattern, several)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("results of %q (-want +got), %v:\n%s", pattern, err, diff)
		}
	}
}

func TestWhatACheckMadeIsCleanedUpLastFirst(t *testing.T) {
	var order []string
	var dir string
	got, err := outcomes(t.Context(), t, "", func(t contract.T) {
		t.Run("Check", func(t contract.T) {
			ctx := t.Context()
			dir = t.TempDir()
			t.Cleanup(func() {
				order = append(order, "first made")
				if !errors.Is(ctx.Err(), context.Canceled) {
					t.Error("the check's context lives while it is cleaned up")
				}
			})
			t.Cleanup(func() { order = append(order, "last made"); t.Fatal("cannot") })
			t.Fatal("broken")
		})
	})
	if want := []string{"Check: failed: broken; cannot"}; !slices.Equal(got, want) || err != nil {
		t.Errorf("results = %q, %v; want %q", got, err, want)
	}
	if want := []string{"last made", "first made"}; !slices.Equal(order, want) {
		t.Errorf("cleaned up %q; want %q", order, want)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stat of the check's folder = %v; want it gone", err)
	}
}

func TestAnInterruptEndsTheCheckAndLeavesTheOthersOut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cleaned := false
	got, err := outcomes(ctx, t, "", func(t contract.T) {
		t.Run("Long", func(t contract.T) {
			t.Cleanup(func() { cleaned = true })
			cancel()
			<-t.Context().Done()
			t.Fatal("interrupted")
		})
		t.Run("Next", func(contract.T) {})
	})
	if want := []string{"Long: failed: interrupted"}; !slices.Equal(got, want) || !cleaned || !errors.Is(err, context.Canceled) {
		t.Errorf("results = %q, %v, cleaned up %v; want %q, the end of the context, and true", got, err, cleaned, want)
	}
}

func TestBadPatternsAreRefused(t *testing.T) {
	if _, err := contract.ParsePattern("a/["); !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("ParsePattern = %v; want %v", err, cluster.ErrInvalid)
	}
}
