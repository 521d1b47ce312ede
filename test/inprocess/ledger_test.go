// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ledger is what the clients of all applications know: which records they were answered.
type ledger struct {
	mu     sync.Mutex
	next   map[string]int
	acked  map[string][]int
	broken []string // what must never be
}

func newLedger() *ledger { return &ledger{next: map[string]int{}, acked: map[string][]int{}} }

// number is that of an application's next record, never given twice.
func (l *ledger) number(app string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[app]++
	return l.next[app]
}

func (l *ledger) answered(app string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[app] = append(l.acked[app], n)
}

func (l *ledger) count(app string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked[app])
}

func (l *ledger) never(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.broken) < 5 {
		l.broken = append(l.broken, fmt.Sprintf(format, args...))
	}
}

// answers are the records of an application that its clients were answered until now.
func (l *ledger) answers(app string) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.acked[app])
}

// complaints compares what was answered with the text that an application's data holds.
func complaints(app string, acked []int, text string) []string {
	times := map[int]int{}
	for line := range strings.Lines(text) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return []string{fmt.Sprintf("application %s: its data has the line %q", app, line)}
		}
		times[n]++
	}
	var lost, twice []int
	for _, n := range acked {
		switch times[n] {
		case 0:
			lost = append(lost, n)
		case 1:
		default:
			twice = append(twice, n)
		}
	}
	var all []string
	if len(lost) > 0 {
		all = append(all, fmt.Sprintf("application %s: %d of %d acknowledged records are lost, the first is %d", app, len(lost), len(acked), lost[0]))
	}
	if len(twice) > 0 {
		all = append(all, fmt.Sprintf("application %s: %d acknowledged records are there twice, the first is %d", app, len(twice), twice[0]))
	}
	return all
}
