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

// Where one back end cannot be looked at, nothing is taken for gone; and one store under two names is found out.
func TestPoolsThatCannotBeLookedAt(t *testing.T) {
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
	if !errors.Is(err, broken) || held.Copies != nil || held.First.Error != "" || !strings.Contains(held.Further["far"].Error, "no answer") {
		t.Errorf("Observe = %+v, %v; want that far does not answer, and no copies", held, err)
	}

	twice, err := backend.NewPools(pool(near, "near"), pool(near, "again"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := twice.Observe(t.Context()); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "two names of one store") {
		t.Errorf("Observe of one store under two names: %v; want %v", err, cluster.ErrConflict)
	}
}
