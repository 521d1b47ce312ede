// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
)

// limit is what a result has to keep to.
type limit struct {
	names *regexp.Regexp
	text  string
	// met compares a result; other finds those of the same run by name.
	met func(r result, other func(string) (result, bool)) bool
}

func limits() []limit {
	most := func(names string, value float64, unit string) limit {
		return limit{
			regexp.MustCompile(names), fmt.Sprintf("at most %g %s", value, unit),
			func(r result, _ func(string) (result, bool)) bool { return r.Value <= value },
		}
	}
	return []limit{
		most(`^move\..*\.added$`, 200, "ms"),
		most(`^idle\.cpu$`, 1, "%"),
		most(`^move\.(nbd|rbd)\.share$`, 100, "ms"),
		most(`^calls\..*\.idle$`, 0, "calls"),
		{
			regexp.MustCompile(`^calls\..*\.move$`), "at most one listing more than the baseline",
			func(r result, _ func(string) (result, bool)) bool { return r.Value <= r.Baseline+1 },
		},
		most(`^network\.move\.refused$`, 0, "connections"),
		most(`^network\.move\.longest_wait$`, 50, "ms"),
		{
			regexp.MustCompile(`^move\..*\.1GB\.gap$`), "at most 5 % of the baseline",
			func(r result, _ func(string) (result, bool)) bool { return r.Ratio <= 0.05 },
		},
		{
			regexp.MustCompile(`^move\..*\.5GB\.gap$`), "at most 1.5 times that of 100MB",
			func(r result, other func(string) (result, bool)) bool {
				small, ok := other(gapName("100MB"))
				return ok && r.Value <= 1.5*small.Value
			},
		},
		{
			regexp.MustCompile(`^network\.change\.1000apps$`), "the baseline",
			func(r result, _ func(string) (result, bool)) bool { return r.Value == r.Baseline },
		},
		{
			regexp.MustCompile(`^network\.port\.local\.throughput$`), "at least 90 % of the baseline",
			func(r result, _ func(string) (result, bool)) bool { return r.Ratio >= 0.9 },
		},
		{
			regexp.MustCompile(`^copy\..*\.throughput$`), "at least 90 % of the baseline",
			func(r result, _ func(string) (result, bool)) bool { return r.Ratio >= 0.9 },
		},
	}
}

// judge says which limit a result has and whether it keeps to it.
func judge(all []result, r result) (text, verdict string) {
	other := func(name string) (result, bool) {
		for _, o := range all {
			if o.Name == name {
				return o, true
			}
		}
		return result{}, false
	}
	for _, l := range limits() {
		if !l.names.MatchString(r.Name) {
			continue
		}
		if l.met(r, other) {
			return l.text, "kept"
		}
		return l.text, "MISSED"
	}
	return "", ""
}
