// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
)

func TestWhateverBeganWhenBeatsTogether(t *testing.T) {
	const period = 2 * time.Second
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, 1, time.Second, period - 1} {
		now := begun.Add(after)
		if at := now.Add(api.NextBeat(now, period)); !at.Equal(begun.Add(period)) {
			t.Errorf("%v after a beat the next is at %v, not at %v", after, at, begun.Add(period))
		}
	}
}
