// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"slices"
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestMoveTakesTheApplicationWithItsData(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	m := w.end(w.ask(beta, nil))
	if m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	want := []cluster.MovePhase{"preparing", "copying", "cutting", "handed-over", "committed", "cleaned"}
	if got := phases(w); !slices.Equal(got, want) {
		t.Errorf("phases %v", got)
	}
	if m.Report == nil || m.Report.Gap <= 0 || m.Report.Rounds < 2 || m.Report.Bytes == 0 {
		t.Errorf("report %+v", m.Report)
	}
	if d, _ := w.state.read(); d.Datasets[data].Owner != beta || d.Datasets[data].Epoch != 2 {
		t.Errorf("dataset %+v", d.Datasets[data])
	}
	t.Logf("gap %v, %d rounds", m.Report.Gap, m.Report.Rounds)
	for _, p := range m.Report.Phases {
		t.Logf("  %-30s %10v +%10v %d bytes gap=%v on %.4s", p.Name, p.Start, p.Took, p.Bytes, p.InGap, p.Node)
	}
}
