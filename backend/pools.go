// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/flocker-project/flocker/cluster"
)

// Pools are a node's back ends by name. The first takes the datasets that ask for none.
type Pools struct {
	first   *Pool
	further map[string]*Pool

	mu   sync.Mutex
	last map[string]map[cluster.DatasetID]cluster.Copy // what was in each when it was last looked at
}

// NewPools makes the storage of a node from its back ends, whose names differ and whose datasets are mounted in one folder.
func NewPools(first *Pool, further ...*Pool) (*Pools, error) {
	p := &Pools{first: first, further: map[string]*Pool{}, last: map[string]map[cluster.DatasetID]cluster.Copy{}}
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
	return NewPool(absent{fmt.Errorf("this node has no back end %s: %w", name, ErrUnsupported)}, Options{Name: name, MountRoot: p.first.options.MountRoot, Log: p.first.options.Log})
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

// Observe reads what is there, in all of them at the same time. A back end that cannot be looked at has the reason in its Error, and nothing
// of what is in it is told. It is an error where a dataset is in two of them: then nothing that is told could be acted on.
func (p *Pools) Observe(ctx context.Context) (Contents, error) {
	all := p.all()
	found := make([]found, len(all))
	var looking sync.WaitGroup
	for i, one := range all {
		looking.Go(func() { found[i].storage, found[i].copies, found[i].err = one.Observe(ctx) })
	}
	looking.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range found {
		if f.err == nil {
			p.last[f.storage.Backend] = f.copies
		}
	}
	return p.gather(found), p.twice(found)
}

// ObserveThose is Observe of those back ends alone, and an error where one of them cannot be looked at. Nobody waits for the others.
func (p *Pools) ObserveThose(ctx context.Context, names []string) (Contents, error) {
	all, errs := p.all(), []error{}
	found := make([]found, len(all))
	for i, one := range all {
		f, name := &found[i], one.options.Name
		f.err = errors.New("it was not looked at")
		if f.storage = (cluster.Storage{Backend: name, Kind: one.options.Kind, Error: f.err.Error()}); !slices.ContainsFunc(names, func(n string) bool { return p.Of(n) == one }) {
			continue
		}
		if f.storage, f.copies, f.err = one.Observe(ctx); f.err != nil {
			errs = append(errs, fmt.Errorf("back end %s: %w", name, f.err))
		}
	}
	return p.gather(found), errors.Join(errs...)
}

// found is what a look at one back end found.
type found struct {
	storage cluster.Storage
	copies  map[cluster.DatasetID]cluster.Copy
	err     error
}

// gather puts together what was found in the back ends, the first one first.
func (p *Pools) gather(found []found) Contents {
	held := Contents{First: found[0].storage, Copies: map[cluster.DatasetID]cluster.Copy{}}
	for i, f := range found {
		if i > 0 {
			if held.Further == nil {
				held.Further = map[string]cluster.Storage{}
			}
			held.Further[f.storage.Backend] = f.storage
		}
		maps.Copy(held.Copies, f.copies)
	}
	return held
}

// twice says which datasets are in two back ends, or are in one and were in another when that was last looked at. The lock is held.
func (p *Pools) twice(found []found) error {
	var errs []error
	for i, here := range found {
		for j, there := range found {
			if i == j || i > j && there.err == nil { // which says so itself
				continue
			}
			for _, id := range slices.Sorted(maps.Keys(here.copies)) {
				if _, too := p.last[there.storage.Backend][id]; too {
					errs = append(errs, fmt.Errorf("dataset %s: %w: it is in back end %s and in back end %s; are these two names of one store?",
						id, cluster.ErrConflict, here.storage.Backend, there.storage.Backend))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// Reach is Observe after each store of network storage was asked itself. What fails is also in the Error of the back end concerned.
func (p *Pools) Reach(ctx context.Context) (Contents, error) {
	held, err := p.Observe(ctx)
	all := p.all()
	reached := make([]error, len(all))
	var reaching sync.WaitGroup
	for i, one := range all {
		reaching.Go(func() { reached[i] = one.Reach(ctx) })
	}
	reaching.Wait()
	errs := []error{err}
	for i, one := range all {
		if reached[i] == nil {
			continue
		}
		name := one.options.Name
		errs = append(errs, fmt.Errorf("back end %s: %w", name, reached[i]))
		if one == p.first {
			held.First.Error = reached[i].Error()
		} else {
			storage := held.Further[name]
			storage.Error = reached[i].Error()
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
