// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// NextBeat is how long to wait for the next multiple of a period on the clock. What each of many streams does from time to time is
// due at once then, and an idle process wakes once for all of them: to wake costs more than what is done.
func NextBeat(now time.Time, period time.Duration) time.Duration {
	return now.Truncate(period).Add(period).Sub(now)
}
