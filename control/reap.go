// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"strings"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// doomKey is where a deletion under way is kept.
func doomKey(object string) store.Key[store.Doom] { return store.Doomed.Under(object) }

func datasetObject(id cluster.DatasetID) string   { return "dataset/" + string(id) }
func applicationObject(name string) string        { return "application/" + name }
func moveObject(id cluster.MoveID) string         { return "move/" + string(id) }
func nodeObject(id cluster.NodeID) string         { return "node/" + string(id) }
func scheduleObject(id cluster.ScheduleID) string { return "schedule/" + string(id) }

// reap forgets deleted objects of which nothing is left. A node's word counts
// only once it has acted on a state in which the object was deleted.
func (s *Service) reap(ctx context.Context, node cluster.NodeID, o cluster.Observed) error {
	var doomed []store.Record[store.Doom]
	if _, err := s.store.Read(ctx, func(tx *store.Tx) (err error) {
		doomed, err = store.List(ctx, tx, store.Doomed)
		return err
	}); err != nil {
		return err
	}
	for _, d := range doomed {
		kind, name, _ := strings.Cut(d.Name, "/")
		left := false
		switch kind {
		case "dataset":
			var err error
			if left, err = s.mayBeLeft(ctx, node, cluster.DatasetID(name), o); err != nil {
				return err
			}
		case "application":
			_, left = o.Containers[name]
		}
		if left || o.Revision < d.Created {
			continue
		}
		if err := s.reapOne(ctx, d.Name, node); err != nil {
			return err
		}
	}
	return nil
}

// mayBeLeft says whether a node has something of a dataset, or may have: in a back end that it could not look at.
func (s *Service) mayBeLeft(ctx context.Context, node cluster.NodeID, id cluster.DatasetID, o cluster.Observed) (bool, error) {
	_, left := o.Copies[id]
	_, err := s.store.Read(ctx, func(tx *store.Tx) error {
		d, err1 := store.Get(ctx, tx, store.Datasets.Under(string(id)))
		told, err2 := store.Get(ctx, tx, store.Copies(node).Under(string(id)))
		left = left || err1 == nil && o.Unknown(d.Backend) != "" || err2 == nil && o.Withholds(told)
		return errors.Join(ignoreNotFound(err1), ignoreNotFound(err2))
	})
	return left, err
}

// reapOne notes that nothing of the object is left on the node (none when empty), and forgets the object if that was the last.
func (s *Service) reapOne(ctx context.Context, object string, node cluster.NodeID) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		doom, err := store.Get(ctx, tx, doomKey(object))
		if errors.Is(err, cluster.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		waiting, err := s.mayHold(ctx, tx, object)
		if err != nil {
			return err
		}
		left := 0
		for n := range waiting {
			if n != node && !doom.Gone[n] {
				left++
			}
		}
		if left == 0 {
			return s.forget(ctx, tx, object)
		}
		if !waiting[node] || doom.Gone[node] {
			return nil
		}
		if doom.Gone == nil {
			doom.Gone = map[cluster.NodeID]bool{}
		}
		doom.Gone[node] = true
		return store.Put(tx, doomKey(object), doom)
	})
	return err
}

// mayHold are the known nodes on which something of the object may be: where it belongs, and where it was seen.
func (s *Service) mayHold(ctx context.Context, tx *store.Tx, object string) (map[cluster.NodeID]bool, error) {
	nodes, err := store.List(ctx, tx, store.Nodes)
	if err != nil {
		return nil, err
	}
	home, err := homeOf(ctx, tx, object)
	if err != nil {
		return nil, err
	}
	holders := map[cluster.NodeID]bool{}
	for _, n := range nodes {
		id := n.Value.ID
		seen, err := seenOn(ctx, tx, object, id)
		if err != nil {
			return nil, err
		}
		if seen || id == home {
			holders[id] = true
		}
	}
	return holders, nil
}

func homeOf(ctx context.Context, tx *store.Tx, object string) (cluster.NodeID, error) {
	kind, name, _ := strings.Cut(object, "/")
	if kind == "dataset" {
		d, err := store.Get(ctx, tx, store.Datasets.Under(name))
		return d.Owner, ignoreNotFound(err)
	}
	a, err := store.Get(ctx, tx, store.Applications.Under(name))
	return a.Node, ignoreNotFound(err)
}

func seenOn(ctx context.Context, tx *store.Tx, object string, node cluster.NodeID) (bool, error) {
	kind, name, _ := strings.Cut(object, "/")
	var err error
	if kind == "dataset" {
		_, err = store.Get(ctx, tx, store.Copies(node).Under(name))
	} else {
		_, err = store.Get(ctx, tx, store.Containers(node).Under(name))
	}
	return err == nil, ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	return err
}

// forget removes a deleted object's record. A dataset's id stays taken.
func (s *Service) forget(ctx context.Context, tx *store.Tx, object string) error {
	store.Delete(tx, doomKey(object))
	kind, name, _ := strings.Cut(object, "/")
	if kind == "application" {
		a, err := store.Get(ctx, tx, store.Applications.Under(name))
		if err != nil {
			return ignoreNotFound(err)
		}
		store.Delete(tx, store.Applications.Under(name))
		return store.Release(ctx, tx, a.Address, store.ApplicationHolder(name))
	}
	d, err := store.Get(ctx, tx, store.Datasets.Under(name))
	if err != nil {
		return ignoreNotFound(err)
	}
	store.Delete(tx, store.Datasets.Under(name))
	return store.Put(tx, store.Tombstones.Under(name), store.Tombstone{Dataset: d.ID, Name: d.Name, Owner: d.Owner, At: s.now()})
}
