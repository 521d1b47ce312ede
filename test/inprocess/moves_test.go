// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"testing"

	"github.com/flocker-project/flocker/cluster"
)

func TestMoveAndBackAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.deploy("db", w.nodes[0], 1, nil)
	id := w.dataset("db-0")
	bulk := make([]byte, 1<<20)
	if err := w.nodes[0].disk.Write(id, "bulk", bulk); err != nil {
		t.Fatal(err)
	}
	there := w.move("db", w.nodes[1])
	if there.Phase != cluster.MoveCleaned || there.Report == nil || there.Report.Bytes < int64(len(bulk)) {
		t.Fatalf("the move there ended as %s with report %+v: %s", there.Phase, there.Report, there.Reason)
	}
	back := w.move("db", w.nodes[0])
	if back.Phase != cluster.MoveCleaned || back.Report == nil {
		t.Fatalf("the move back ended as %s with report %+v: %s", back.Phase, back.Report, back.Reason)
	}
	if back.Report.Bytes > int64(len(bulk))/4 {
		t.Errorf("the move back sent %d bytes; only what changed is to be sent", back.Report.Bytes)
	}
	if there.Report.Gap <= 0 || len(there.Report.Phases) == 0 {
		t.Errorf("the gap is not shown: %+v", there.Report)
	}
}
