// SPDX-License-Identifier: Apache-2.0

package all

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// size is a number of bytes that is written with a unit: 500MB, 20GiB.
type size int64

// UnmarshalText reads a size.
func (s *size) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	digits := len(word) - len(strings.TrimLeft(word, "0123456789"))
	number, err := strconv.ParseInt(word[:digits], 10, 64)
	unit, known := units()[strings.ToLower(strings.TrimSpace(word[digits:]))]
	if err != nil || !known || number > math.MaxInt64/unit {
		return fmt.Errorf("%q is no size such as 20GiB: %w", text, cluster.ErrInvalid)
	}
	*s = size(number * unit)
	return nil
}

// String writes it as it may be written in agent.yml.
func (s size) String() string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := size(units()[strings.ToLower(unit)]); s >= n && s%n == 0 {
			return strconv.FormatInt(int64(s/n), 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func units() map[string]int64 {
	return map[string]int64{
		"": 1, "b": 1,
		"k": 1 << 10, "kib": 1 << 10, "kb": 1000,
		"m": 1 << 20, "mib": 1 << 20, "mb": 1000_000,
		"g": 1 << 30, "gib": 1 << 30, "gb": 1000_000_000,
		"t": 1 << 40, "tib": 1 << 40, "tb": 1000_000_000_000,
	}
}
