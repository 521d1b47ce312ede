// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"time"
)

// MostSnapshots bounds what a dataset's record grows to.
const MostSnapshots = 200

// Retention says which of its snapshots a schedule keeps: each that one of the rules keeps.
type Retention struct {
	Last    int `json:"last,omitempty" doc:"the newest ones"`
	Hourly  int `json:"hourly,omitempty" doc:"the newest of each of the last hours that have any"`
	Daily   int `json:"daily,omitempty" doc:"the newest of each of the last days, of UTC, that have any"`
	Weekly  int `json:"weekly,omitempty" doc:"the newest of each of the last weeks, from Monday, that have any"`
	Monthly int `json:"monthly,omitempty" doc:"the newest of each of the last months that have any"`
}

// rule keeps the newest of each of the last most periods; a period begins at what begin makes of a time. Without begin each is one of its own.
type rule struct {
	field string
	most  int
	begin func(time.Time) time.Time
}

func (r Retention) rules() []rule {
	return []rule{
		{"last", r.Last, nil},
		{"hourly", r.Hourly, Hourly.Last},
		{"daily", r.Daily, Daily.Last},
		{"weekly", r.Weekly, Weekly.Last},
		{"monthly", r.Monthly, Monthly.Last},
	}
}

func (r Retention) validate(p *problems) {
	total, bad := 0, false
	for _, rule := range r.rules() {
		if rule.most < 0 || rule.most >= MostSnapshots {
			p.add("keep."+rule.field, "%d is not from 0 to %d", rule.most, MostSnapshots-1)
			bad = true
		}
		total += rule.most
	}
	switch {
	case bad:
	case total == 0:
		p.add("keep", "is missing: say how many to keep, as the last ones, or hourly, daily, weekly or monthly ones")
	case total >= MostSnapshots:
		p.add("keep", "are %d snapshots together; a dataset can have %d, and a new one is there before an old one goes", total, MostSnapshots)
	}
}

// Spare are those of the snapshots, each with its due time, that no rule keeps. The newest is always kept.
func (r Retention) Spare(of []KeptSnapshot) []KeptSnapshot {
	of = slices.Clone(of)
	slices.SortStableFunc(of, func(a, b KeptSnapshot) int { return b.Scheduled.Due.Compare(a.Scheduled.Due) })
	keep := make([]bool, len(of))
	for _, rule := range r.rules() {
		rule.mark(of, keep)
	}
	var spare []KeptSnapshot
	for i, k := range of {
		if !keep[i] && i > 0 {
			spare = append(spare, k)
		}
	}
	return spare
}

// mark notes which the rule keeps, newest first.
func (r rule) mark(newest []KeptSnapshot, keep []bool) {
	var period time.Time
	for i, left := 0, r.most; i < len(newest) && left > 0; i++ {
		if r.begin != nil {
			begin := r.begin(newest[i].Scheduled.Due)
			if i > 0 && begin.Equal(period) {
				continue
			}
			period = begin
		}
		keep[i] = true
		left--
	}
}
