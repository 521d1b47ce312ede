// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
	"github.com/flocker-project/flocker/control/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) *store.Store {
		t.Parallel()
		s := open(t, t.TempDir())
		t.Cleanup(func() { closed(t, s) })
		return s
	})
}

func TestARecordOfANewerVersionIsRefusedByName(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	defer closed(t, s)
	for _, text := range []string{
		`{"v":2,"data":{}}`, `{"v":1,"data":{"id":"x","colour":"blue"}}`, `{"v":1,"data":[]}`, `no JSON`, `{}`,
	} {
		if err := s.PutRaw(t.Context(), "datasets/x", text); err != nil {
			t.Fatal(err)
		}
		_, err := s.Read(t.Context(), func(tx *store.Tx) error {
			_, err := store.List(t.Context(), tx, store.Datasets)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "datasets/x") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestARestoredStoreIsANewIncarnation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	marker := store.NewMarker(dir)
	put := func(s *store.Store, name string) {
		t.Helper()
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
			return store.Put(tx, store.Nodes.Under(name), cluster.Node{ID: cluster.NodeID(name)})
		}); err != nil {
			t.Fatal(err)
		}
	}
	incarnate := func(s *store.Store) store.Meta {
		t.Helper()
		meta, err := s.Incarnate(t.Context(), marker, "c")
		if err != nil {
			t.Fatal(err)
		}
		return meta
	}
	s := open(t, dir)
	first := incarnate(s)
	put(s, "a")
	closed(t, s)
	if first.Unconfirmed {
		t.Error("a new store waits for a confirmation")
	}
	backup := filepath.Join(t.TempDir(), "etcd")
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(dir, "etcd"))); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	if again := incarnate(s); again != first {
		t.Errorf("a restart made %+v of %+v", again, first)
	}
	put(s, "b")
	rev, err := s.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := marker.Save(first.Incarnation, rev); err != nil {
		t.Fatal(err)
	}
	closed(t, s)

	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "etcd")), os.CopyFS(filepath.Join(dir, "etcd"), os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	restored := incarnate(s)
	if restored.Incarnation == first.Incarnation || !restored.Unconfirmed || restored.Cluster != "c" {
		t.Errorf("restored: %+v, was %+v", restored, first)
	}
	confirmed, err := s.Confirm(t.Context())
	if err != nil || confirmed.Unconfirmed || confirmed.Incarnation != restored.Incarnation {
		t.Errorf("confirmed: %+v, %v", confirmed, err)
	}
	closed(t, s)
	s = open(t, dir)
	defer closed(t, s)
	if again := incarnate(s); again != confirmed {
		t.Errorf("after a restart: %+v, want %+v", again, confirmed)
	}
}

func TestAStoreWithoutItsMarkerCameFromElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Incarnate(t.Context(), store.NewMarker(dir), "c"); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s = open(t, dir)
	defer closed(t, s)
	meta, err := s.Incarnate(t.Context(), store.NewMarker(t.TempDir()), "c")
	if err != nil || !meta.Unconfirmed {
		t.Errorf("got %+v, %v", meta, err)
	}
}
