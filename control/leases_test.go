// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// refused wants an error that is a sentinel and says all of some words.
func refused(t *testing.T, err, sentinel error, words ...string) {
	t.Helper()
	wantError(t, err, sentinel)
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %v; want it to say %q", err, word)
		}
	}
}

// volumeStage is a stage with a dataset db on node a that no application uses.
func volumeStage(t *testing.T, nodes ...string) *stage {
	t.Helper()
	s := newStage(t, nodes...)
	if _, err := s.service.CreateDataset(t.Context(), "test", api.DatasetRequest{Name: "db", Node: "a"}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) hold(node string) error {
	return second(s.service.HoldVolume(s.t.Context(), s.actors[node].id, "db"))
}

func (s *stage) release(node string) error {
	return second(s.service.ReleaseVolume(s.t.Context(), s.actors[node].id, "db"))
}

func TestALeasedDatasetStaysWhereItIs(t *testing.T) {
	t.Parallel()
	s := volumeStage(t, "a", "b")
	refused(t, s.hold("b"), cluster.ErrPrecondition, "node a")
	for range 2 { // the second, because the answer to the first was lost
		if err := s.hold("a"); err != nil {
			t.Fatal(err)
		}
	}
	db := s.dataset("db")
	if db.Lease == nil || db.Lease.Node != s.actors["a"].id || db.Lease.Holder != api.HolderDocker {
		t.Errorf("got lease %+v", db.Lease)
	}
	s.report("a", cluster.Observed{Foreign: map[cluster.DatasetID]string{db.ID: "writer"}})
	ctx := t.Context()
	for what, err := range map[string]error{
		"move of a user": second(s.service.CreateMove(ctx, "test", api.MoveRequest{Dataset: "db", Node: "b"})),
		"move of a node": second(s.service.MoveVolume(ctx, s.actors["b"].id, "db")),
		"removal":        second(s.service.DeleteDataset(ctx, "test", "db")),
		"node's removal": second(s.service.DeleteVolume(ctx, s.actors["b"].id, "db")),
		"second holder":  second(s.service.AcquireLease(ctx, "test", api.LeaseRequest{Dataset: "db", Node: "a", Holder: "backup"})),
		"lease of b":     s.hold("b"),
	} {
		t.Run(what, func(t *testing.T) { refused(t, err, cluster.ErrConflict, "node a", "container writer", "docker") })
	}
	refused(t, s.release("b"), cluster.ErrConflict, "node a")
	for range 2 {
		if err := s.release("a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.service.MoveVolume(ctx, s.actors["b"].id, "db"); err != nil {
		t.Errorf("after the release: %v", err)
	}
	refused(t, s.hold("a"), cluster.ErrConflict, "being moved")
	refused(t, second(s.service.DeleteVolume(ctx, s.actors["b"].id, "db")), cluster.ErrConflict, "being moved")
}

func TestALeaseDoesNotOutliveAFencedNode(t *testing.T) {
	t.Parallel()
	s := volumeStage(t, "a", "b")
	if err := s.hold("a"); err != nil {
		t.Fatal(err)
	}
	id := s.dataset("db").ID
	s.report("a", cluster.Observed{Storage: cluster.Storage{Backend: "x", Capabilities: fencing()}, Copies: map[cluster.DatasetID]cluster.Copy{id: {Dataset: id, Head: true, Epoch: 1, Volume: "v"}}})
	s.report("b", cluster.Observed{Storage: cluster.Storage{Backend: "x", Capabilities: fencing()}})
	s.die("a")
	over := func() error {
		return second(s.service.FailOver(t.Context(), "test", api.FailOverRequest{Dataset: "db", Node: "b", MaxLoss: cluster.Duration(time.Hour)}))
	}
	refused(t, over(), cluster.ErrConflict, "node a", "docker") // the storage would keep a out; its container would go on
	if _, err := s.service.FenceNode(t.Context(), "test", "a", api.FenceRequest{IsOff: true}); err != nil {
		t.Fatal(err)
	}
	if err := over(); err != nil {
		t.Fatal(err)
	}
	if db := s.dataset("db"); db.Owner != s.actors["b"].id || db.Lease != nil {
		t.Errorf("got owner %s, lease %+v", db.Owner, db.Lease)
	}
}

func fencing() cluster.Capabilities { return cluster.Capabilities{Attaches: true, Fences: true} }

func TestAnApplicationAndDockerDoNotShareADataset(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	refused(t, s.hold("a"), cluster.ErrConflict, "application db")
	refused(t, second(s.service.MoveVolume(t.Context(), s.actors["b"].id, "db")), cluster.ErrConflict, "application db")
	if _, err := s.service.AcquireLease(t.Context(), "test", api.LeaseRequest{Dataset: "db", Node: "a", Holder: "backup"}); err != nil {
		t.Fatal(err)
	}
	refused(t, second(s.service.CreateMove(t.Context(), "test", api.MoveRequest{Application: "db", Node: "b"})), cluster.ErrConflict, "backup")
	if _, err := s.service.ReleaseLease(t.Context(), "test", "db"); err != nil {
		t.Fatal(err)
	}

	v := volumeStage(t, "a")
	if err := v.hold("a"); err != nil {
		t.Fatal(err)
	}
	_, err := v.service.Deploy(t.Context(), "test", api.DeployRequest{Applications: []cluster.Application{{
		Name: "db", Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: "db", MountPoint: "/data"}},
	}}})
	refused(t, err, cluster.ErrConflict, "node a", "Docker")
}

func TestALeaseIsRefusedForBadHolders(t *testing.T) {
	t.Parallel()
	s := volumeStage(t, "a")
	for _, holder := range []string{"", api.HolderDocker, strings.Repeat("x", 256)} {
		refused(t, second(s.service.AcquireLease(t.Context(), "test", api.LeaseRequest{Dataset: "db", Node: "a", Holder: holder})), cluster.ErrInvalid, "holder")
	}
}

// Of many that ask at the same instant one gets the lease, and of a lease and a move only one is made.
func TestLeasesExcludeEachOtherAndMoves(t *testing.T) {
	t.Parallel()
	s := volumeStage(t, "a", "b")
	var got atomic.Int32
	var all sync.WaitGroup
	try := func(f func(context.Context) error) {
		all.Go(func() {
			switch err := f(t.Context()); {
			case err == nil:
				got.Add(1)
			case !errors.Is(err, cluster.ErrConflict):
				t.Error(err)
			}
		})
	}
	for _, holder := range []string{"one", "two", "three"} {
		try(func(ctx context.Context) error {
			return second(s.service.AcquireLease(ctx, "test", api.LeaseRequest{Dataset: "db", Node: "a", Holder: holder}))
		})
		try(func(ctx context.Context) error { return second(s.service.MoveVolume(ctx, s.actors["b"].id, "db")) })
	}
	all.Wait()
	if n := got.Load(); n != 1 {
		t.Errorf("%d leases and moves were made; want one", n)
	}
}
