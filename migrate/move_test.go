// SPDX-License-Identifier: Apache-2.0

package migrate_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flocker-project/flocker/backend"
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
	if predicted := m.Report.PredictedGap.Std(); predicted < 400*time.Millisecond || predicted > 2*time.Second {
		t.Errorf("predicted gap %v; want what a stop, the last delta and a start usually take", predicted)
	}
	if d, _ := w.state.read(); d.Datasets[data].Owner != beta || d.Datasets[data].Epoch != 2 {
		t.Errorf("dataset %+v", d.Datasets[data])
	}
	t.Logf("gap %v, %d rounds", m.Report.Gap, m.Report.Rounds)
	for _, p := range m.Report.Phases {
		t.Logf("  %-30s %10v +%10v %d bytes gap=%v on %.4s", p.Name, p.Start, p.Took, p.Bytes, p.InGap, p.Node)
	}
}

func TestDifferenceThatDoesNotFitIsReplacedByTheWhole(t *testing.T) {
	w := newWorld(t)
	var received atomic.Int32
	w.machines[beta].storage = func(op string, id cluster.DatasetID) error {
		if op == "receive" && id == data && received.Add(1) == 2 {
			return fmt.Errorf("unlink: %w", backend.ErrUnfit)
		}
		return nil
	}
	w.start(nil)
	const size = 1 << 20
	w.until("the data is there", func() bool {
		return w.machines[alpha].disk.Write(data, "big", make([]byte, size)) == nil
	})
	m := w.end(w.ask(beta, nil))
	if m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	if m.Report.Bytes < 2*size {
		t.Errorf("%d bytes were sent; want the whole of %d twice", m.Report.Bytes, size)
	}
}

// After a roll-back the newest common snapshot may be of what was undone: an older one that the data was made from serves as base.
func TestDifferenceToWhatWasUndoneIsOneToAnOlderSnapshot(t *testing.T) {
	const third, size = 3, 1 << 20 // the third copy has two snapshots to choose from
	for name, undone := range map[string]int32{"the newest": 1, "all": 2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.withApplication(func(a *cluster.Application) { a.Hooks.Quiesce = []string{"quiesce"} }) // it makes more rounds
			var sends, snapshots atomic.Int32
			w.machines[alpha].storage = func(op string, id cluster.DatasetID) error {
				if op == "snapshot" && id == data {
					snapshots.Add(1)
				}
				if op != "send" || id != data {
					return nil
				}
				if n := sends.Add(1); n >= third && n < third+undone {
					return fmt.Errorf("it was not made from it: %w", backend.ErrUnfit)
				}
				return nil
			}
			w.start(nil)
			w.until("the data is there", func() bool {
				return w.machines[alpha].disk.Write(data, "big", make([]byte, size)) == nil
			})
			m := w.end(w.ask(beta, nil))
			if m.Phase != cluster.MoveCleaned || sends.Load() <= third+undone {
				t.Fatalf("the move ended as %s after %d sends: %s", m.Phase, sends.Load(), m.Reason)
			}
			if again := sends.Load() - snapshots.Load(); again != undone {
				t.Errorf("%d snapshots were sent with another base; want %d", again, undone)
			}
			if whole, want := m.Report.Bytes >= 2*size, undone == 2; whole != want {
				t.Errorf("%d bytes were sent of %d; want all a second time: %v", m.Report.Bytes, size, want)
			}
		})
	}
}

// What has arrived when a stream breaks off for good is not sent again.
func TestACopyThatBrokeOffGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("copies 20 MB, which takes more than ten seconds with the race detector")
	}
	w := newWorld(t)
	var broken, rests atomic.Int32
	w.machines[alpha].answer = func(op string, id cluster.DatasetID) error {
		switch {
		case op == "send" && id == data && broken.Add(1) == 1:
			return errors.New("the stream broke off")
		case op == "send-rest" && id == data:
			rests.Add(1)
		}
		return nil
	}
	w.start(nil)
	const size = 20 << 20 // more than a stream keeps back
	w.until("the data is there", func() bool {
		return w.machines[alpha].disk.Write(data, "big", make([]byte, size)) == nil
	})
	m := w.end(w.ask(beta, nil))
	if m.Phase != cluster.MoveCleaned || rests.Load() != 1 {
		t.Fatalf("the move ended as %s; what was missing was sent %d times: %s", m.Phase, rests.Load(), m.Reason)
	}
	if m.Report.Bytes > size { // it is larger on the way
		t.Errorf("%d bytes were sent after the stream broke off", m.Report.Bytes)
	}
}

// New connections wait before the application is stopped, or it would refuse them; the target's commit ends that.
func TestNewConnectionsAreHeldBeforeTheStop(t *testing.T) {
	w := newWorld(t)
	source := w.machines[alpha]
	var held atomic.Bool
	source.eng.onStop = func(app string) {
		source.mu.Lock()
		defer source.mu.Unlock()
		held.Store(source.held[app] && source.published[app])
	}
	w.start(nil)
	if m := w.end(w.ask(beta, nil)); m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	if !held.Load() {
		t.Error("the application was stopped while new connections came to it, or established ones did not any more")
	}
}
