// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// A cluster at rest writes nothing to the store, and its agents look at nothing, also while applications write: what
// their data takes up changes before a report of it has reached the others.
func TestClusterAtRestDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.deploy("db", w.nodes[0], 2, nil)
	w.deploy("web", w.nodes[1], 1, nil)
	if m := w.move("db", w.nodes[2]); m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	w.slow.Store(int64(4 * writeEvery))
	looks := func() (all int) {
		for _, n := range w.nodes {
			all += n.looks()
		}
		return all
	}
	quiet := func() (cluster.Revision, int) {
		s, err := w.user.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Revision, looks()
	}
	for tries := 0; ; tries++ {
		revision, looked := quiet()
		<-time.After(4 * time.Second) // longer than every heartbeat and the renewal of sessions
		revisionNow, lookedNow := quiet()
		if revision == revisionNow && looked == lookedNow {
			return
		}
		if tries == 3 {
			t.Fatalf("at rest for long, and in 4s the store went from revision %d to %d, and agents looked %d times", revision, revisionNow, lookedNow-looked)
		}
	}
}
