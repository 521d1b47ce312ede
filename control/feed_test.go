// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

var errEnough = errors.New("enough")

// feed reads a node's stream until it has come to a revision.
func (s *stage) feed(node string, d cluster.Desired, until cluster.Revision) (cluster.Desired, bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	full := false
	a := s.actors[node]
	err := s.service.Feed(ctx, a.id, a.session, d.Revision, func(e api.WatchEvent) error {
		full = full || e.Full != nil
		if d = applied(d, e); d.Revision >= until {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		s.t.Fatalf("the stream ended at %d with %v, wanted %d", d.Revision, err, until)
	}
	return d, full
}

func (s *stage) revision() cluster.Revision {
	s.t.Helper()
	rev, err := s.store.Revision(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return rev
}

// sameState ignores what only a connected stream changes: the holder of a session is not part of it.
func sameState(t *testing.T, got, want cluster.Desired) {
	t.Helper()
	got.Revision, want.Revision = 0, 0
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("differences (-full +resumed):\n%s", d)
	}
}

func TestDifferencesLeadToTheSameStateAsAFullRead(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c")
	s.deploy("db", "a")
	first, full := s.feed("c", cluster.NewDesired(), 1)
	if !full || !first.Complete {
		t.Fatalf("a stream begins with everything; got %+v", first)
	}
	s.deploy("web", "b")
	m := s.advance(s.move("db", "b"), "a", "b", cluster.MoveCommitted)
	s.report("a", cluster.Observed{Containers: map[string]cluster.Container{"db": {Application: "db"}}, Claims: map[cluster.MoveID]bool{m.ID: true}})
	s.report("a", cluster.Observed{})
	gone, err := s.service.DeleteApplication(t.Context(), "test", "web")
	if err != nil {
		t.Fatal(err)
	}
	s.report("b", cluster.Observed{Revision: gone.Revision})
	s.die("b")
	at := s.revision()
	resumed, full := s.feed("c", first, at)
	if full {
		t.Error("a resumed stream sent everything")
	}
	fresh, _ := s.feed("c", cluster.NewDesired(), at)
	sameState(t, resumed, fresh)
}

func TestAResumeFromCompactedHistoryBeginsAnew(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	first, _ := s.feed("a", cluster.NewDesired(), 1)
	for i := range 3 {
		s.deploy(fmt.Sprint("app", i), "a")
	}
	at := s.revision()
	if err := s.store.Compact(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	got, full := s.feed("a", first, at)
	if !full || len(got.Applications) != 3 {
		t.Errorf("full %v, %d applications", full, len(got.Applications))
	}
}

func TestOneTransactionIsOneEvent(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	m := s.advance(s.move("db", "b"), "a", "b", cluster.MoveCutting)
	from, _ := s.feed("b", cluster.NewDesired(), s.revision())
	handed := s.advance(m, "a", "b", cluster.MoveHandedOver)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b := s.actors["b"]
	d := from
	err := s.service.Feed(ctx, b.id, b.session, from.Revision, func(e api.WatchEvent) error {
		d = applied(d, e)
		set, move := d.Datasets[m.Datasets[0]], d.Moves[m.ID]
		if (set.Owner == b.id) != (move.Phase == cluster.MoveHandedOver) || (d.Applications["db"].Node == b.id) != (set.Owner == b.id) {
			t.Errorf("at %d: owner %s, application on %s, move %s", e.Revision, set.Owner, d.Applications["db"].Node, move.Phase)
		}
		if e.Revision >= handed.Revision {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func TestAnOverSessionHasNoStream(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	former := s.actors["a"].session
	s.die("a")
	err := s.service.Feed(t.Context(), s.actors["a"].id, former, 0, func(api.WatchEvent) error { return nil })
	wantError(t, err, cluster.ErrPrecondition)
}

func TestASessionEndsWithItsKeyAndWhenItWasHeardIsKept(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	var kept sync.WaitGroup
	kept.Go(func() {
		if err := s.service.Keep(ctx, func(cluster.Revision) {}); !errors.Is(err, context.Canceled) {
			t.Errorf("keeping ended with %v", err)
		}
	})
	defer kept.Wait()
	defer cancel()
	s.die("a")
	b := s.actors["b"]
	feeding, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	d := cluster.NewDesired()
	err := s.service.Feed(feeding, b.id, b.session, 0, func(e api.WatchEvent) error {
		d = applied(d, e)
		if n := d.Nodes[s.actors["a"].id]; !n.Alive() && !n.LastSeen.IsZero() {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func TestARestoredStoreTellsAgentsNothingUntilItIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	_, err := s.store.Update(t.Context(), func(tx *store.Tx) error {
		meta, err := store.Get(t.Context(), tx, store.MetaKey)
		meta.Unconfirmed = true
		return errors.Join(err, store.Put(tx, store.MetaKey, meta))
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, first := s.actors["a"], true
	err = s.service.Feed(ctx, a.id, a.session, 0, func(e api.WatchEvent) error {
		if first {
			first = false
			if e.Full != nil || e.Put != nil {
				t.Errorf("got %+v", e)
			}
			return second(s.service.ConfirmRestore(t.Context(), "test"))
		}
		if e.Full != nil && e.Full.Complete {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func TestEventsResumeAndResync(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	from := s.revision()
	s.deploy("db", "a")
	s.advance(s.move("db", "b"), "a", "b", cluster.MoveHandedOver)
	at := s.revision()
	read := func(from cluster.Revision) []api.Event {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var all []api.Event
		err := s.service.Events(ctx, from, func(e api.Event) error {
			if all = append(all, e); e.Revision >= at {
				return errEnough
			}
			return nil
		})
		if !errors.Is(err, errEnough) {
			t.Fatalf("after %d events: %v", len(all), err)
		}
		return all
	}
	events := read(from)
	texts := map[string]bool{}
	for _, e := range events {
		texts[fmt.Sprintf("%s %s", e.Name, e.Text)] = true
		if e.Text == "" || e.Object == "" || e.Revision <= from {
			t.Errorf("event %+v", e)
		}
	}
	if !texts["db created on node a, image x"] || !texts["db created on node a"] {
		t.Errorf("got %v", texts)
	}
	half := events[len(events)/2].Revision
	for _, e := range read(half) {
		if e.Revision <= half {
			t.Errorf("after %d came %+v", half, e)
		}
	}
	if err := s.store.Compact(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if e := read(from)[0]; e.Kind != api.EventResync || e.State == nil || len(e.State.Applications) != 1 {
		t.Errorf("after a compaction: %+v", e)
	}
}
