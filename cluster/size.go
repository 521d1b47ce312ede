// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are powers of 1024.
const sizeUnits = "KMGT"

// fractionDigits of a size are exact; what follows them is rounded up.
const fractionDigits = 6

// ParseSize reads a number of bytes such as "512M" or "1.5G"; K, M, G and T are powers of 1024. Fractions of a byte are rounded up.
func ParseSize(text string) (int64, error) {
	number, unit := text, int64(1)
	if i := strings.IndexAny(text, sizeUnits); i >= 0 && i == len(text)-1 {
		number, unit = text[:i], 1<<(10*(1+strings.IndexByte(sizeUnits, text[i])))
	}
	whole, fraction, hasPoint := strings.Cut(number, ".")
	if !digits(whole) || (hasPoint && !digits(fraction)) {
		return 0, fmt.Errorf("%.40q is not a size such as 512M or 1.5G: %w", text, ErrInvalid)
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > (math.MaxInt64-unit)/unit {
		return 0, fmt.Errorf("%.40q is too large: %w", text, ErrInvalid)
	}
	return n*unit + fractionOf(fraction, unit), nil
}

// fractionOf is 0.<digits> of a unit, rounded up.
func fractionOf(digits string, unit int64) int64 {
	scale, value := int64(1), int64(0)
	for i, c := range strings.TrimRight(digits, "0") {
		if i == fractionDigits {
			value++
			break
		}
		scale, value = scale*10, value*10+int64(c-'0')
	}
	return (value*unit + scale - 1) / scale
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// FormatSize writes a number of bytes for people, with three digits at most: "1.5 GiB".
func FormatSize(bytes int64) string {
	if bytes < 1024 {
		return strconv.FormatInt(bytes, 10) + " B"
	}
	value, unit := float64(bytes), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		value /= 1024
		if value < 999.5 {
			break
		}
	}
	decimals := 0
	if value < 9.95 {
		decimals = 1
	}
	return strings.TrimSuffix(strconv.FormatFloat(value, 'f', decimals, 64), ".0") + " " + unit
}
