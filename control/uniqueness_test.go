// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func TestOfManyWhoAskForOneThingOneGetsIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b", "c")
	s.deploy("shared", "a")
	const askers = 8
	deploy := func(a cluster.Application, createOnly bool) error {
		return second(s.service.Deploy(t.Context(), "test", api.DeployRequest{CreateOnly: createOnly, Applications: []cluster.Application{a}}))
	}
	for _, c := range []struct {
		what string
		ask  func(i int) error
	}{
		{"dataset name", func(int) error {
			return second(s.service.CreateDataset(t.Context(), "test", api.DatasetRequest{Name: "one", Node: "a"}))
		}},
		{"dataset id", func(i int) error {
			return second(s.service.CreateDataset(t.Context(), "test", api.DatasetRequest{
				ID: "11111111-1111-4111-8111-111111111111", Name: fmt.Sprint("name-", i), Node: "a",
			}))
		}},
		{"application name", func(i int) error {
			return deploy(cluster.Application{Name: "web", Image: fmt.Sprint("x:", i), Node: "a"}, true)
		}},
		{"port", func(i int) error {
			return deploy(cluster.Application{Name: fmt.Sprint("p", i), Image: "x", Node: "a", Ports: []cluster.Port{{Internal: 1, External: 8080}}}, false)
		}},
		{"writer", func(i int) error {
			return deploy(cluster.Application{Name: fmt.Sprint("w", i), Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: "one", MountPoint: "/d"}}}, false)
		}},
		{"move", func(i int) error {
			return second(s.service.CreateMove(t.Context(), "test", api.MoveRequest{Application: "shared", Node: []string{"b", "c"}[i%2]}))
		}},
	} {
		t.Run(c.what, func(t *testing.T) { oneOf(t, askers, c.ask) })
	}
}

func oneOf(t *testing.T, askers int, ask func(int) error) {
	t.Helper()
	errs := make([]error, askers)
	var wg sync.WaitGroup
	for i := range askers {
		wg.Go(func() { errs[i] = ask(i) })
	}
	wg.Wait()
	got := 0
	for _, err := range errs {
		switch {
		case err == nil:
			got++
		case !errors.Is(err, cluster.ErrExists) && !errors.Is(err, cluster.ErrConflict):
			t.Errorf("refused with %v", err)
		}
	}
	if got != 1 {
		t.Errorf("%d of %d got it", got, askers)
	}
}

func TestAMoveTakesAllThatShareItsData(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	reader := func(name string) cluster.Application {
		return cluster.Application{Name: name, Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: "db", MountPoint: "/d", ReadOnly: true}}}
	}
	if err := second(s.service.Deploy(t.Context(), "test", api.DeployRequest{Applications: []cluster.Application{reader("backup"), reader("report")}})); err != nil {
		t.Fatal(err)
	}
	m := s.move("backup", "b")
	if fmt.Sprint(m.Applications) != "[backup db report]" || len(m.Datasets) != 1 {
		t.Errorf("got %v and %v", m.Applications, m.Datasets)
	}
	elsewhere := reader("late")
	elsewhere.Node = "b"
	err := second(s.service.Deploy(t.Context(), "test", api.DeployRequest{Applications: []cluster.Application{elsewhere}}))
	wantError(t, err, cluster.ErrConflict)
}

func TestWhileAMoveIsActiveOtherChangesAreRefusedAndDeletionsCancelIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a", "b")
	s.deploy("db", "a")
	m := s.move("db", "b")
	size := int64(1 << 30)
	err := second(s.service.ChangeDataset(t.Context(), "test", "db", api.DatasetChange{Size: &size}))
	wantError(t, err, cluster.ErrConflict)
	if now, ok := api.CurrentMove(err); !ok || now.ID != m.ID {
		t.Errorf("the refusal does not carry the move: %v", err)
	}
	err = second(s.service.CreateMove(t.Context(), "test", api.MoveRequest{Application: "db", Node: "b"}))
	wantError(t, err, cluster.ErrConflict)
	if err := second(s.service.DeleteApplication(t.Context(), "test", "db")); err != nil {
		t.Fatal(err)
	}
	info, err := s.service.GetMove(t.Context(), string(m.ID))
	if err != nil || !info.CancelRequested {
		t.Errorf("got %+v, %v", info.Move, err)
	}

	s.deploy("db2", "a")
	handed := s.advance(s.move("db2", "b"), "a", "b", cluster.MoveHandedOver)
	err = second(s.service.DeleteApplication(t.Context(), "test", "db2"))
	wantError(t, err, cluster.ErrConflict)
	err = second(s.service.CancelMove(t.Context(), "test", string(handed.ID)))
	wantError(t, err, cluster.ErrConflict)
}
