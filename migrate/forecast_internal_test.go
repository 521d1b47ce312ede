// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestRoundsGoOnUntilTheLastDeltaFits(t *testing.T) {
	full := round{took: 10 * time.Second, fresh: true}
	cases := map[string]struct {
		rounds    []round
		again     bool
		converged bool
	}{
		"a first copy predicts nothing":      {[]round{full}, true, false},
		"a small round fits":                 {[]round{full, {took: 800 * ms, since: 10 * time.Second}}, false, true},
		"a large round does not":             {[]round{full, {took: 2 * time.Second, since: 10 * time.Second}}, true, false},
		"rounds that shrink go on":           {[]round{full, {took: 4000 * ms, since: 5 * time.Second}, {took: 3000 * ms, since: 4 * time.Second}}, true, false},
		"rounds that do not shrink end":      {[]round{full, {took: 4000 * ms, since: 5 * time.Second}, {took: 3900 * ms, since: 4 * time.Second}}, false, false},
		"there is a most":                    {[]round{full, full, full, full}, false, false},
		"a replica's first round is no base": {[]round{{took: 5 * ms}}, true, false},
	}
	for name, c := range cases {
		again, converged := next(c.rounds, 100*ms, 4)
		if again != c.again || converged != c.converged {
			t.Errorf("%s: again %v, converged %v", name, again, converged)
		}
	}
}
