// SPDX-License-Identifier: Apache-2.0

package migrate

import "time"

// round is what one round of copies measured.
type round struct {
	took  time.Duration // snapshot to verdict
	since time.Duration // time over which its bytes were written: from the last round's snapshot to its own
	bytes int64
	fresh bool // there was no base: its size says nothing of what is being written
}

// forecast predicts how long the last delta takes: what is written while a round
// lasts, at the pace of the last round. The first round, or one that had no base,
// predicts nothing.
func forecast(r round) (time.Duration, bool) {
	if r.fresh || r.since <= 0 {
		return 0, false
	}
	share := float64(r.took) / float64(r.since)
	return time.Duration(float64(r.took) * min(1, share)), true
}

// shrinkEnough is the share of the last round's time below which a round counts as progress.
const shrinkEnough = 0.8

// next decides whether another round is worth its while.
func next(rounds []round, budget time.Duration, most int) (again, converged bool) {
	last := rounds[len(rounds)-1]
	predicted, known := forecast(last)
	if known && predicted <= budget {
		return false, true
	}
	if len(rounds) >= most {
		return false, false
	}
	if len(rounds) >= 3 && !last.fresh {
		before := rounds[len(rounds)-2]
		if float64(last.took) > shrinkEnough*float64(before.took) {
			return false, false
		}
	}
	return true, false
}
