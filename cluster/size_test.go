// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"errors"
	"math"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestSizesAreReadAsTheOriginalDid(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1024": 1024, "1K": 1024, "1.5K": 1536, "64M": 64 << 20, "10G": 10 << 30, "2T": 2 << 40,
		"0.5": 1, "1.1": 2, "0.1K": 103, "1.0": 1, "1.000000K": 1024, "0.0000001K": 1, "007": 7,
		"9223372036854775806": math.MaxInt64 - 1, "8388606T": 8388606 << 40,
	} {
		if got, err := cluster.ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "K", "-1", "+1", "1k", "1KB", "1 K", " 1", "1.", ".5", "1.5.5", "1e3", "0x10", "1_000", "١", "1KK", "NaN",
		"9223372036854775807", "8388608T", "99999999999999999999999G", "1\n",
	} {
		if got, err := cluster.ParseSize(text); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("ParseSize(%q) = %d, %v; want ErrInvalid", text, got, err)
		}
	}
}

func TestSizesAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 10 << 20: "10 MiB", 1<<20 - 1: "1 MiB",
		5 << 30: "5 GiB", 123 << 30: "123 GiB", math.MaxInt64: "8 EiB",
	} {
		if got := cluster.FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q; want %q", n, got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, text := range []string{"1.5G", "0.0000009T", "9223372036854775807", "1.", "K"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := cluster.ParseSize(text)
		if err == nil && n < 0 || err != nil && n != 0 {
			t.Errorf("ParseSize(%q) = %d, %v", text, n, err)
		}
	})
}
