// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// draft is a change of what should be, checked as a whole before it is written.
type draft struct {
	tx           *store.Tx
	nodes        map[cluster.NodeID]cluster.Node
	sessions     map[cluster.NodeID]store.Session
	datasets     map[cluster.DatasetID]cluster.Dataset
	applications map[string]cluster.Application
	leases       map[cluster.DatasetID]cluster.Lease
	touched      map[string]bool                // applications to check
	former       map[string]cluster.Application // what those were
	used         usedPorts
	free         *store.Allocator
}

func newDraft(ctx context.Context, tx *store.Tx) (*draft, error) {
	d := &draft{
		tx:           tx,
		nodes:        map[cluster.NodeID]cluster.Node{},
		sessions:     map[cluster.NodeID]store.Session{},
		datasets:     map[cluster.DatasetID]cluster.Dataset{},
		applications: map[string]cluster.Application{},
		leases:       map[cluster.DatasetID]cluster.Lease{},
		touched:      map[string]bool{},
		former:       map[string]cluster.Application{},
	}
	return d, errors.Join(
		collect(ctx, tx, store.Nodes, d.nodes),
		collect(ctx, tx, store.Sessions, d.sessions),
		collect(ctx, tx, store.Datasets, d.datasets),
		collect(ctx, tx, store.Applications, d.applications),
		collect(ctx, tx, store.Leases, d.leases),
	)
}

func collect[K ~string, V any](ctx context.Context, tx *store.Tx, k store.Key[V], into map[K]V) error {
	records, err := store.List(ctx, tx, k)
	for _, r := range records {
		into[K(r.Name)] = r.Value
	}
	return err
}

func (d *draft) putDataset(s cluster.Dataset) error {
	d.datasets[s.ID] = s
	return store.Put(d.tx, store.Datasets.Under(string(s.ID)), s)
}

func (d *draft) putApplication(a cluster.Application) error {
	if !d.touched[a.Name] {
		d.former[a.Name], d.touched[a.Name] = d.applications[a.Name], true
	}
	d.applications[a.Name] = a
	return store.Put(d.tx, store.Applications.Under(a.Name), a)
}

// node finds a node by name, UUID, prefix of it, or address.
func (d *draft) node(ref string) (cluster.Node, error) { return findNode(d.nodes, ref) }

func findNode(nodes map[cluster.NodeID]cluster.Node, ref string) (cluster.Node, error) {
	if n, ok := nodes[cluster.NodeID(strings.ToLower(ref))]; ok {
		return n, nil
	}
	exact := matching(nodes, func(n cluster.Node) bool { return n.Name == ref || n.Address == ref })
	if len(exact) == 0 && len(ref) >= 4 {
		exact = matching(nodes, func(n cluster.Node) bool { return strings.HasPrefix(string(n.ID), strings.ToLower(ref)) })
	}
	switch len(exact) {
	case 1:
		return exact[0], nil
	case 0:
		return cluster.Node{}, fmt.Errorf("node %q: %w; there are %s", ref, cluster.ErrNotFound, nodeNames(nodes))
	}
	ids := make([]string, len(exact))
	for i, n := range exact {
		ids[i] = string(n.ID)
	}
	return cluster.Node{}, fmt.Errorf("node %q is ambiguous, it may be %s: %w", ref, strings.Join(ids, " or "), cluster.ErrInvalid)
}

func matching(nodes map[cluster.NodeID]cluster.Node, is func(cluster.Node) bool) []cluster.Node {
	var found []cluster.Node
	for _, n := range nodes {
		if is(n) {
			found = append(found, n)
		}
	}
	slices.SortFunc(found, func(a, b cluster.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return found
}

func nodeNames(nodes map[cluster.NodeID]cluster.Node) string {
	if len(nodes) == 0 {
		return "no nodes"
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	sort.Strings(names)
	return strings.Join(names[:min(len(names), 20)], ", ")
}

// dataset finds a dataset by UUID or name; deleted ones only by UUID. One that serves a copy alone is nobody's to use or to change.
func (d *draft) dataset(ref string) (cluster.Dataset, error) {
	n, err := d.find(ref)
	if err == nil && n.CopyFor != "" {
		return n, fmt.Errorf("dataset %s is only there for dataset %s to be copied from, and goes when that is whole or removed: %w",
			n.Name, firstOf(d.datasets[n.CopyFor].Name, string(n.CopyFor)), cluster.ErrConflict)
	}
	return n, err
}

func (d *draft) find(ref string) (cluster.Dataset, error) {
	if s, ok := d.datasets[cluster.DatasetID(strings.ToLower(ref))]; ok {
		return s, nil
	}
	for _, s := range d.datasets {
		if s.Name == ref && !s.Deleted {
			return s, nil
		}
	}
	return cluster.Dataset{}, fmt.Errorf("dataset %q: %w", ref, cluster.ErrNotFound)
}

// application finds one that is not deleted.
func (d *draft) application(name string) (cluster.Application, error) {
	a, ok := d.applications[name]
	if !ok || a.Deleted {
		return cluster.Application{}, fmt.Errorf("application %q: %w", name, cluster.ErrNotFound)
	}
	return a, nil
}

// idle refuses a change to an object that is being moved.
func (d *draft) idle(ctx context.Context, what string, id cluster.MoveID) error {
	if id == "" {
		return nil
	}
	err := fmt.Errorf("%s is being moved (move %s); cancel that or wait for its end: %w", what, id, cluster.ErrConflict)
	m, readErr := store.Get(ctx, d.tx, store.Moves.Under(string(id)))
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	return &api.MoveError{Move: m, Err: err}
}

// users are the applications of a dataset, deleted ones too while something of them may be left, sorted.
func (d *draft) users(id cluster.DatasetID) []cluster.Application {
	var users []cluster.Application
	for _, a := range d.applications {
		if slices.Contains(a.DatasetIDs(), id) {
			users = append(users, a)
		}
	}
	slices.SortFunc(users, func(a, b cluster.Application) int { return strings.Compare(a.Name, b.Name) })
	return users
}

// check finds what the changed applications contradict.
func (d *draft) check() error {
	var problems []error
	for _, name := range sortedKeys(d.touched) {
		a := d.applications[name]
		if a.Deleted {
			continue
		}
		problems = append(problems, d.checkVolumes(a), d.checkPorts(a))
	}
	return errors.Join(problems...)
}

func (d *draft) checkVolumes(a cluster.Application) error {
	for i, v := range a.Volumes {
		field := fmt.Sprintf("applications.%s.volumes[%d]", a.Name, i)
		s, ok := d.datasets[v.Dataset]
		if !ok || s.Deleted {
			return fmt.Errorf("%s: dataset %q: %w", field, v.Dataset, cluster.ErrNotFound)
		}
		if s.Owner != a.Node {
			return fmt.Errorf("%s: dataset %s is on node %s, the application is to run on node %s; move the dataset there first: %w",
				field, s.Name, d.nodes[s.Owner].Name, d.nodes[a.Node].Name, cluster.ErrConflict)
		}
		if lease := d.leases[v.Dataset]; lease.Holder == api.HolderDocker {
			return fmt.Errorf("%s: dataset %s is held on node %s for containers that Docker runs: %w", field, s.Name, d.nodes[lease.Node].Name, cluster.ErrConflict)
		}
		if v.ReadOnly {
			continue
		}
		for _, other := range d.users(v.Dataset) {
			if other.Name != a.Name && !other.Deleted && writes(other, v.Dataset) {
				return fmt.Errorf("%s: dataset %s is written by application %s; others may use it read-only: %w",
					field, s.Name, other.Name, cluster.ErrConflict)
			}
		}
	}
	return nil
}

func writes(a cluster.Application, id cluster.DatasetID) bool {
	return slices.ContainsFunc(a.Volumes, func(v cluster.Volume) bool { return v.Dataset == id && !v.ReadOnly })
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
