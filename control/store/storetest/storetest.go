// SPDX-License-Identifier: Apache-2.0

// Package storetest is what every store must keep, as tests: the embedded one and an external etcd alike.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// Run checks a store that open makes, empty, for each test.
func Run(t *testing.T, open func(*testing.T) *store.Store) {
	for name, test := range map[string]func(*testing.T, *store.Store){
		"WritesAreAppliedTogether":              together,
		"AConcurrentChangeOfWhatWasReadRepeats": repeats,
		"AdditionsToAListAreSeen":               additions,
		"DeletionsFromAListAreSeen":             deletions,
		"AFailedUpdateWritesNothing":            failed,
		"ReadsAreOfOneRevision":                 oneRevision,
		"RecordsCarryTheirRevision":             revisions,
		"TooManyRecordsAreRefused":              tooMany,
		"WatchResumesFromARevision":             resumes,
		"WatchOfCompactedHistoryIsGone":         compacted,
		"LeasedRecordsGoWithTheirLease":         leased,
		"CountersNeverLoseAnIncrement":          counters,
		"WhoReadsMuchGetsItsTurn":               turns,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func dataset(name string) cluster.Dataset {
	return cluster.Dataset{ID: cluster.DatasetID(uuid.NewString()), Name: name, Owner: "n1", Epoch: 1}
}

func key(d cluster.Dataset) store.Key[cluster.Dataset] { return store.Datasets.Under(string(d.ID)) }

func update(t *testing.T, s *store.Store, fn func(*store.Tx) error) cluster.Revision {
	t.Helper()
	rev, err := s.Update(t.Context(), fn)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func get(t *testing.T, s *store.Store, k store.Key[cluster.Dataset]) (cluster.Dataset, error) {
	t.Helper()
	var d cluster.Dataset
	_, err := s.Read(t.Context(), func(tx *store.Tx) (err error) {
		d, err = store.Get(t.Context(), tx, k)
		return err
	})
	return d, err
}

func together(t *testing.T, s *store.Store) {
	a, b := dataset("a"), dataset("b")
	update(t, s, func(tx *store.Tx) error {
		return errors.Join(store.Put(tx, key(a), a), store.Put(tx, key(b), b))
	})
	gotA, errA := get(t, s, key(a))
	gotB, errB := get(t, s, key(b))
	if errA != nil || errB != nil || gotA.Revision != gotB.Revision {
		t.Errorf("got revisions %d and %d, errors %v and %v", gotA.Revision, gotB.Revision, errA, errB)
	}
}

func repeats(t *testing.T, s *store.Store) {
	d := dataset("d")
	update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
	runs := 0
	update(t, s, func(tx *store.Tx) error {
		runs++
		seen, err := store.Get(t.Context(), tx, key(d))
		if err != nil {
			return err
		}
		if runs == 1 { // somebody else is faster
			update(t, s, func(tx *store.Tx) error {
				other := seen
				other.Size = 7
				return store.Put(tx, key(d), other)
			})
		}
		seen.Profile = "gold"
		return store.Put(tx, key(d), seen)
	})
	got, err := get(t, s, key(d))
	if err != nil || runs != 2 || got.Size != 7 || got.Profile != "gold" {
		t.Errorf("after %d runs: %+v, %v", runs, got, err)
	}
}

func additions(t *testing.T, s *store.Store) {
	changedWhileListed(t, s, func(tx *store.Tx) error {
		d := dataset("new")
		return store.Put(tx, key(d), d)
	})
}

func deletions(t *testing.T, s *store.Store) {
	d := dataset("old")
	update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
	changedWhileListed(t, s, func(tx *store.Tx) error { store.Delete(tx, key(d)); return nil })
}

func changedWhileListed(t *testing.T, s *store.Store, change func(*store.Tx) error) {
	t.Helper()
	runs := 0
	n := cluster.Node{ID: "n1"}
	update(t, s, func(tx *store.Tx) error {
		runs++
		if _, err := store.List(t.Context(), tx, store.Datasets); err != nil {
			return err
		}
		if runs == 1 {
			update(t, s, change)
		}
		return store.Put(tx, store.Nodes.Under("n1"), n)
	})
	if runs != 2 {
		t.Errorf("the transaction ran %d times", runs)
	}
}

func failed(t *testing.T, s *store.Store) {
	d, no := dataset("d"), errors.New("no")
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(store.Put(tx, key(d), d), no)
	})
	if !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if _, err := get(t, s, key(d)); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
}

func oneRevision(t *testing.T, s *store.Store) {
	d := dataset("d")
	update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
	_, err := s.Read(t.Context(), func(tx *store.Tx) error {
		if _, err := store.Get(t.Context(), tx, key(d)); err != nil {
			return err
		}
		update(t, s, func(tx *store.Tx) error { store.Delete(tx, key(d)); return nil })
		_, err := store.Get(t.Context(), tx, key(d))
		return err
	})
	if err != nil {
		t.Errorf("the second read saw another revision: %v", err)
	}
}

func revisions(t *testing.T, s *store.Store) {
	d := dataset("d")
	d.Revision = 99999
	rev := update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
	got, err := get(t, s, key(d))
	if err != nil || got.Revision != rev {
		t.Errorf("got revision %d, %v; want %d", got.Revision, err, rev)
	}
}

func tooMany(t *testing.T, s *store.Store) {
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		for range s.MaxOps() + 1 {
			d := dataset("d")
			if err := store.Put(tx, key(d), d); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, cluster.ErrInvalid) {
		t.Errorf("got %v, want invalid", err)
	}
}

// collect watches until it has so many changes.
func collect(t *testing.T, s *store.Store, from cluster.Revision, n int) ([]store.Change, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var changes []store.Change
	enough := errors.New("enough")
	err := s.Watch(ctx, from, func(b store.Batch) error {
		if changes = append(changes, b.Changes...); len(changes) >= n {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return changes, err
}

func resumes(t *testing.T, s *store.Store) {
	d := dataset("d")
	var first cluster.Revision
	for i := range 5 {
		d.Size = int64(i)
		rev := update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
		if i == 0 {
			first = rev
		}
	}
	changes, err := collect(t, s, first+2, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range changes {
		got, err := store.Value(c, store.Datasets)
		if err != nil || got.Size != int64(i+2) || c.Created() || c.Deleted() {
			t.Errorf("change %d: %+v, %v", i, got, err)
		}
		if was, ok := store.Previous(c, store.Datasets); !ok || was.Size != int64(i+1) {
			t.Errorf("change %d: before it was %+v, %v", i, was, ok)
		}
	}
}

func compacted(t *testing.T, s *store.Store) {
	d := dataset("d")
	first := update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
	last := update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
	if err := s.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(t, s, first, 1); !errors.Is(err, cluster.ErrGone) {
		t.Errorf("got %v, want gone", err)
	}
}

func leased(t *testing.T, s *store.Store) {
	lease, err := s.Grant(t.Context(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	session := store.Session{ID: "s", Node: "n1", Lease: lease}
	rev := update(t, s, func(tx *store.Tx) error {
		return store.PutLeased(tx, store.Sessions.Under("n1"), session, lease)
	})
	if err := s.KeepAlive(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	changes, err := collect(t, s, rev+1, 1) // it ends by itself
	if err != nil || !changes[0].Deleted() || changes[0].Key != "sessions/n1" {
		t.Errorf("got %+v, %v", changes, err)
	}
	if err := s.KeepAlive(t.Context(), lease); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if err := s.Revoke(t.Context(), lease); err != nil {
		t.Error(err)
	}
}

func counters(t *testing.T, s *store.Store) {
	d := dataset("d")
	update(t, s, func(tx *store.Tx) error { return store.Put(tx, key(d), d) })
	const writers, each = 4, 10
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() {
			for range each {
				_, err := s.Update(t.Context(), func(tx *store.Tx) error {
					got, err := store.Get(t.Context(), tx, key(d))
					got.Size++
					return errors.Join(err, store.Put(tx, key(d), got))
				})
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	wg.Wait()
	got, err := get(t, s, key(d))
	if err := errors.Join(append(errs, err)...); err != nil || got.Size != writers*each {
		t.Error(fmt.Errorf("counted %d of %d: %w", got.Size, writers*each, err))
	}
}

// turns: a transaction that reads for long comes through among many that are faster.
func turns(t *testing.T, s *store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	var fast sync.WaitGroup
	for i := range 4 {
		d := dataset(fmt.Sprintf("fast%d", i))
		fast.Go(func() {
			for ctx.Err() == nil {
				d.Epoch++
				if _, err := s.Update(ctx, func(tx *store.Tx) error { return store.Put(tx, key(d), d) }); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	slow := dataset("slow")
	_, err := s.Update(t.Context(), func(tx *store.Tx) error {
		for range 100 {
			if _, err := store.List(t.Context(), tx, store.Datasets); err != nil {
				return err
			}
		}
		return store.Put(tx, key(slow), slow)
	})
	cancel()
	fast.Wait()
	if err != nil {
		t.Error(err)
	}
}
