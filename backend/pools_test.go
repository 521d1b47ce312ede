// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/fault"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
)

const lone = cluster.DatasetID("0b0f0a3c-53a6-4f2e-9b8e-3b0d6f1c2d10")

func pool(driver backend.Driver, name string) *backend.Pool {
	return backend.NewPool(driver, backend.Options{Name: name, MountRoot: "/mnt"})
}

func TestPoolsNeedNamesOfTheirOwn(t *testing.T) {
	first := pool(mem.New(1<<30), "a")
	for what, further := range map[string][]*backend.Pool{
		"the first's":   {pool(mem.New(1<<30), "a")},
		"one twice":     {pool(mem.New(1<<30), "b"), pool(mem.New(1<<30), "b")},
		"none":          {pool(mem.New(1<<30), "")},
		"another mount": {backend.NewPool(mem.New(1<<30), backend.Options{Name: "b"})},
	} {
		if _, err := backend.NewPools(first, further...); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("NewPools with %s: %v; want %v", what, err, cluster.ErrInvalid)
		}
	}
}

func TestPoolsLeadToTheirBackEnds(t *testing.T) {
	near, far := mem.New(1<<30), mem.New(1<<30)
	pools, err := backend.NewPools(pool(near, "near"), pool(far, "far"))
	if err != nil {
		t.Fatal(err)
	}
	if err := pools.Of("far").Create(t.Context(), backend.Spec{Dataset: lone, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	held, err := pools.Observe(t.Context())
	if err != nil || held.Copies[lone].Backend != "far" || held.First.Backend != "near" || held.Back("far").Total != 1<<30 {
		t.Errorf("Observe = %+v, %v; want the dataset in far", held, err)
	}
	if list, err := near.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("near holds %v, %v; want nothing", list, err)
	}
	err = pools.Of("tape").Destroy(t.Context(), lone)
	if !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), "no back end tape") {
		t.Errorf("Destroy in a back end that there is not: %v", err)
	}
}

// Where one back end cannot be looked at that is all that is said of it, and of the others all is said; whoever asks for that one gets the error.
func TestPoolsOfWhichOneCannotBeLookedAt(t *testing.T) {
	near, far := mem.New(1<<30), mem.New(1<<30)
	broken := errors.New("no answer")
	pools, err := backend.NewPools(pool(near, "near"), pool(&fault.Driver{Inner: far, Before: func(string, cluster.DatasetID) error { return broken }}, "far"))
	if err != nil {
		t.Fatal(err)
	}
	if err := pools.Of("near").Create(t.Context(), backend.Spec{Dataset: lone, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	held, err := pools.Observe(t.Context())
	if err != nil || !held.Copies[lone].Head || held.First.Error != "" || !strings.Contains(held.Further["far"].Error, "no answer") {
		t.Errorf("Observe = %+v, %v; want all of near, and that far does not answer", held, err)
	}
	if held.Further["far"].Kind != "" || !held.Further["far"].Capabilities.Replicates {
		t.Errorf("of far is told %+v; want what it can do", held.Further["far"])
	}
	held, err = pools.ObserveThose(t.Context(), []string{""})
	if err != nil || !held.Copies[lone].Head || held.Further["far"].Error == "" {
		t.Errorf("ObserveThose of near = %+v, %v; want nothing of far", held, err)
	}
	if _, err = pools.ObserveThose(t.Context(), []string{"near", "far"}); !errors.Is(err, broken) {
		t.Errorf("ObserveThose of far: %v; want %v", err, broken)
	}
}

// One store under two names is found out, also while one of them cannot be looked at: until it can be, what was in it may be the same.
func TestOneStoreUnderTwoNames(t *testing.T) {
	near := mem.New(1 << 30)
	var broken error
	again := &fault.Driver{Inner: near, Before: func(string, cluster.DatasetID) error { return broken }}
	for _, order := range [][]*backend.Pool{{pool(near, "near"), pool(again, "again")}, {pool(again, "again"), pool(near, "near")}} {
		pools, err := backend.NewPools(order[0], order[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := pools.Of("near").Create(t.Context(), backend.Spec{Dataset: lone, Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		for _, broken = range []error{nil, errors.New("no answer")} {
			if _, err := pools.Observe(t.Context()); !errors.Is(err, cluster.ErrConflict) || strings.Count(err.Error(), "two names of one store") != 1 {
				t.Errorf("Observe of one store under two names, one of which says %v: %v; want %v once", broken, err, cluster.ErrConflict)
			}
		}
		broken = nil
	}
}
