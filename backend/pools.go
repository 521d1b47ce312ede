// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// Pools are a node's back ends by name. The first takes the datasets that ask for none.
type Pools struct {
	first   *Pool
	further map[string]*Pool
}

// NewPools makes the storage of a node from its back ends, whose names differ and whose datasets are mounted in one folder.
func NewPools(first *Pool, further ...*Pool) (*Pools, error) {
	p := &Pools{first: first, further: map[string]*Pool{}}
	for _, one := range further {
		name := one.options.Name
		if _, twice := p.further[name]; twice || name == "" || name == first.options.Name {
			return nil, fmt.Errorf("back end %q: %w: each has a name of its own", name, cluster.ErrInvalid)
		}
		if one.options.MountRoot != first.options.MountRoot {
			return nil, fmt.Errorf("back end %s: %w: datasets are mounted in %s, not in %s", name, cluster.ErrInvalid, first.options.MountRoot, one.options.MountRoot)
		}
		p.further[name] = one
	}
	return p, nil
}

// Of is the back end of that name, the first where the name is empty. One that there is not fails whatever it is asked for.
func (p *Pools) Of(name string) *Pool {
	if name == "" || name == p.first.options.Name {
		return p.first
	}
	if one, there := p.further[name]; there {
		return one
	}
	return NewPool(absent{name}, Options{Name: name, MountRoot: p.first.options.MountRoot, Log: p.first.options.Log})
}

// all are the back ends, the first one first.
func (p *Pools) all() []*Pool {
	list := []*Pool{p.first}
	for _, name := range slices.Sorted(maps.Keys(p.further)) {
		list = append(list, p.further[name])
	}
	return list
}

// Contents is what the back ends of a node are and hold.
type Contents struct {
	First   cluster.Storage
	Further map[string]cluster.Storage
	Copies  map[cluster.DatasetID]cluster.Copy
}

// Back is the back end of that name, as cluster.Observed.Back.
func (c Contents) Back(name string) cluster.Storage {
	return cluster.Observed{Storage: c.First, Further: c.Further}.Back(name)
}

// Observe reads what is there, in all of them: where one of them fails nothing is known, and that it failed is in its Error.
func (p *Pools) Observe(ctx context.Context) (Contents, error) {
	all := Contents{Copies: map[cluster.DatasetID]cluster.Copy{}}
	var errs []error
	for _, one := range p.all() {
		storage, copies, err := one.Observe(ctx)
		if one == p.first {
			all.First = storage
		} else {
			if all.Further == nil {
				all.Further = map[string]cluster.Storage{}
			}
			all.Further[storage.Backend] = storage
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("back end %s: %w", storage.Backend, err))
		}
		for id, c := range copies {
			if other, twice := all.Copies[id]; twice {
				errs = append(errs, fmt.Errorf("dataset %s: %w: it is in back end %s and in back end %s; are these two names of one store?",
					id, cluster.ErrConflict, other.Backend, c.Backend))
			}
			all.Copies[id] = c
		}
	}
	if len(errs) > 0 {
		all.Copies = nil
	}
	return all, errors.Join(errs...)
}

// Reach is Observe after each store of network storage was asked itself. What fails is also in the Error of the back end concerned.
func (p *Pools) Reach(ctx context.Context) (Contents, error) {
	held, err := p.Observe(ctx)
	errs := []error{err}
	for _, one := range p.all() {
		reached := one.Reach(ctx)
		if reached == nil {
			continue
		}
		name := one.options.Name
		errs = append(errs, fmt.Errorf("back end %s: %w", name, reached))
		if one == p.first {
			held.First.Error = reached.Error()
		} else {
			storage := held.Further[name]
			storage.Error = reached.Error()
			held.Further[name] = storage
		}
	}
	return held, errors.Join(errs...)
}

// AnyAttaches says whether one of them is network storage.
func (p *Pools) AnyAttaches() bool {
	return slices.ContainsFunc(p.all(), func(one *Pool) bool { return one.Capabilities().Attaches })
}

// Refresh lets the next Observe ask the stores of network storage what there is.
func (p *Pools) Refresh() {
	for _, one := range p.all() {
		one.Refresh()
	}
}

// MountRoot is the folder in which datasets are mounted.
func (p *Pools) MountRoot() string { return p.first.MountRoot() }

// MountPath is where the head of a dataset is mounted when it is.
func (p *Pools) MountPath(id cluster.DatasetID) string {
	return filepath.Join(p.MountRoot(), string(id))
}

// Close ends what the drivers do in the background. What is mounted stays mounted.
func (p *Pools) Close() error {
	var errs []error
	for _, one := range p.all() {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// absent stands for a back end that the node does not have.
type absent struct{ name string }

func (a absent) problem() error {
	return fmt.Errorf("this node has no back end %s: %w", a.name, ErrUnsupported)
}

func (a absent) Create(context.Context, Spec) error { return a.problem() }

func (a absent) Destroy(context.Context, cluster.DatasetID) error { return a.problem() }

func (a absent) List(context.Context) ([]cluster.Copy, error) { return nil, a.problem() }

func (a absent) SetEpoch(context.Context, cluster.DatasetID, cluster.Epoch, cluster.MoveID) error {
	return a.problem()
}
