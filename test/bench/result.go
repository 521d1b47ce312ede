// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// result is one figure beside its baseline.
type result struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"`
	Ratio    float64 `json:"ratio"` // value to baseline
}

func newResult(name string, value float64, unit string, baseline float64) result {
	r := result{Name: name, Value: rounded(value), Unit: unit, Baseline: rounded(baseline)}
	if baseline != 0 {
		r.Ratio = rounded(value / baseline)
	}
	return r
}

// inMilliseconds is a duration beside another.
func inMilliseconds(name string, value, baseline time.Duration) result {
	return newResult(name, milliseconds(value), "ms", milliseconds(baseline))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// rounded keeps four figures, more than any measurement here is good for.
func rounded(v float64) float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		return v
	}
	return short
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// show prints the results as a table and returns how many limits are missed.
func show(w io.Writer, all []result) (missed int) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer func() { _ = t.Flush() }() // a table that cannot be printed is seen to be missing
	fmt.Fprintln(t, "\nRESULT\tVALUE\tBASELINE\tRATIO\tLIMIT\t")
	for _, r := range all {
		text, verdict := judge(all, r)
		if verdict == "MISSED" {
			missed++
		}
		fmt.Fprintf(t, "%s\t%g %s\t%g %s\t%g\t%s\t%s\n", r.Name, r.Value, r.Unit, r.Baseline, r.Unit, r.Ratio, text, verdict)
	}
	return missed
}

func write(path string, all []result) error {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
