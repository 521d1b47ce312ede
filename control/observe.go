// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// Observe takes in what a node sees. Only what changed is written; a report that
// differs in nothing but the revision acted on changes nothing, or reports would
// wake each other for ever.
func (s *Service) Observe(ctx context.Context, node cluster.NodeID, r api.ObservedReport) error {
	if r.Observed.Node != "" && r.Observed.Node != node {
		return fmt.Errorf("node %s reports for node %s: %w", node, r.Observed.Node, cluster.ErrForbidden)
	}
	changes, err := s.observedChanges(ctx, node, r)
	if err != nil {
		return fmt.Errorf("take in the report of node %s: %w", node, err)
	}
	for len(changes) > 0 {
		// Each part may read and write a dataset's record too, and a copy that is whole lets its source go.
		n := min(len(changes), max(1, s.store.MaxOps()/2-4))
		if err := s.writeObserved(ctx, node, r, changes[:n]); err != nil {
			return fmt.Errorf("take in the report of node %s: %w", node, err)
		}
		changes = changes[n:]
	}
	if r.Blind {
		return nil
	}
	if err := s.reap(ctx, node, r.Observed); err != nil {
		return fmt.Errorf("take in the report of node %s: %w", node, err)
	}
	return nil
}

// part is one changed part of an observation.
type part struct {
	write func(*store.Tx) error
	head  *cluster.Copy // a copy that a dataset may be born with
}

// observedChanges compares the report with what is stored, and checks the session before anything is looked at.
func (s *Service) observedChanges(ctx context.Context, node cluster.NodeID, r api.ObservedReport) ([]part, error) {
	var changes []part
	_, err := s.store.Read(ctx, func(tx *store.Tx) error {
		changes = nil
		if _, err := checkSession(ctx, tx, node, r.Session); err != nil {
			return err
		}
		o := r.Observed
		statuses, err := changedParts(ctx, tx, store.Statuses(node), o.Status, nil)
		if err != nil {
			return err
		}
		for _, c := range statuses {
			changes = append(changes, c.part)
		}
		if r.Blind {
			return nil
		}
		copies, err := changedParts(ctx, tx, store.Copies(node), o.Copies, o.Withholds)
		if err != nil {
			return err
		}
		for i, c := range copies {
			if seen, ok := o.Copies[cluster.DatasetID(c.name)]; ok && seen.Head && seen.Scratch == "" {
				seen.Dataset = cluster.DatasetID(c.name)
				copies[i].part.head = &seen
			}
		}
		containers, err := changedParts(ctx, tx, store.Containers(node), o.Containers, nil)
		if err != nil {
			return err
		}
		for _, group := range [][]namedPart{copies, containers} {
			for _, c := range group {
				changes = append(changes, c.part)
			}
		}
		return nodePart(ctx, tx, node, o, &changes)
	})
	return changes, err
}

type namedPart struct {
	name string
	part part
}

// changedParts compares what is stored with what there is now, and leaves alone what is withheld: of that nothing is known now.
func changedParts[K ~string, V any](ctx context.Context, tx *store.Tx, k store.Key[V], now map[K]V, withheld func(V) bool) ([]namedPart, error) {
	before, err := store.List(ctx, tx, k)
	if err != nil {
		return nil, err
	}
	var changes []namedPart
	old := map[string]bool{}
	for _, r := range before {
		old[r.Name] = true
		if withheld != nil && withheld(r.Value) {
			continue
		}
		v, still := now[K(r.Name)]
		if !still {
			key := k.Under(r.Name)
			changes = append(changes, namedPart{r.Name, part{write: func(tx *store.Tx) error { store.Delete(tx, key); return nil }}})
			continue
		}
		if !same(r.Value, v) {
			changes = append(changes, namedPart{r.Name, putPart(k.Under(r.Name), v)})
		}
	}
	for name, v := range now {
		if !old[string(name)] {
			changes = append(changes, namedPart{string(name), putPart(k.Under(string(name)), v)})
		}
	}
	return changes, nil
}

func putPart[V any](k store.Key[V], v V) part {
	return part{write: func(tx *store.Tx) error { return store.Put(tx, k, v) }}
}

// nodePart compares what belongs to the node as a whole.
func nodePart(ctx context.Context, tx *store.Tx, node cluster.NodeID, o cluster.Observed, changes *[]part) error {
	key := store.ObservedNode(node)
	before, err := store.Get(ctx, tx, key)
	absent := errors.Is(err, cluster.ErrNotFound)
	if err != nil && !absent {
		return err
	}
	now := o
	now.Node, now.Copies, now.Containers, now.Status = node, nil, nil, nil
	before.Revision = now.Revision
	if absent || !same(before, now) {
		*changes = append(*changes, putPart(key, now))
	}
	return nil
}

// same compares as the store would show it: an empty map and none are the same.
func same[V any](a, b V) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// writeObserved writes parts of a report in the node's session, together with the births they prove.
func (s *Service) writeObserved(ctx context.Context, node cluster.NodeID, r api.ObservedReport, parts []part) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := checkSession(ctx, tx, node, r.Session); err != nil {
			return err
		}
		sets := newRecords(tx)
		for _, p := range parts {
			if err := p.write(tx); err != nil {
				return err
			}
			if p.head == nil {
				continue
			}
			if err := birth(ctx, sets, node, *p.head, cmp.Or(p.head.Backend, r.Observed.Storage.Backend)); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// birth notes that the owner has a copy: from now on the dataset is never made
// anew, what a fail-over named to be adopted, or taken, has been, and snapshots that were removed and are gone are forgotten.
func birth(ctx context.Context, sets *records, node cluster.NodeID, c cluster.Copy, backend string) error {
	d, err := sets.get(ctx, c.Dataset)
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	adopted := (d.Adopt != "" || d.Eviction != cluster.Eviction{}) && c.Epoch == d.Epoch
	gone := func(k cluster.KeptSnapshot) bool { return k.Removed && (k.Taken == nil || !c.Held(*k.Taken)) }
	if err != nil || d.Owner != node || d.Half(c) || (d.Born && !adopted && !slices.ContainsFunc(d.Snapshots, gone)) {
		return err
	}
	d = d.WithoutSnapshots(gone)
	if !d.Born {
		d.Born, d.Backend = true, backend
		if err := cloneMade(ctx, sets, d); err != nil {
			return err
		}
	}
	if adopted {
		d.Adopt, d.Eviction = "", cluster.Eviction{}
	}
	return sets.put(d)
}

// ReportProgress keeps a move's progress, apart from the move.
func (s *Service) ReportProgress(ctx context.Context, node cluster.NodeID, p cluster.MoveProgress) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		m, err := store.Get(ctx, tx, store.Moves.Under(string(p.Move)))
		if err != nil {
			return err
		}
		if m.Source != node && m.Target != node {
			return fmt.Errorf("node %s has no part in it: %w", node, cluster.ErrForbidden)
		}
		if m.Phase.Terminal() {
			return nil // a late word changes nothing
		}
		return store.Put(tx, store.Progress.Under(string(p.Move)), p)
	})
	if err != nil {
		return fmt.Errorf("report progress of move %s: %w", p.Move, err)
	}
	return nil
}
