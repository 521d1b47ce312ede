// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// recentMoves is how many ended moves an agent gets with a full state. The
// others concern nobody any more; they are kept for users.
const recentMoves = 50

// world is the whole state at one revision, kept current by applying changes.
type world struct {
	revision     cluster.Revision
	meta         store.Meta
	fabric       cluster.Fabric
	nodes        map[cluster.NodeID]cluster.Node // without session
	sessions     map[cluster.NodeID]store.Session
	datasets     map[cluster.DatasetID]cluster.Dataset
	applications map[string]cluster.Application
	moves        map[cluster.MoveID]cluster.Move
	progress     map[cluster.MoveID]cluster.MoveProgress
	leases       map[cluster.DatasetID]cluster.Lease
	doomed       map[string]store.Doom
	schedules    map[cluster.ScheduleID]cluster.Schedule
	observed     map[cluster.NodeID]cluster.Observed
}

func newWorld() *world {
	return &world{
		nodes:        map[cluster.NodeID]cluster.Node{},
		sessions:     map[cluster.NodeID]store.Session{},
		datasets:     map[cluster.DatasetID]cluster.Dataset{},
		applications: map[string]cluster.Application{},
		moves:        map[cluster.MoveID]cluster.Move{},
		progress:     map[cluster.MoveID]cluster.MoveProgress{},
		leases:       map[cluster.DatasetID]cluster.Lease{},
		doomed:       map[string]store.Doom{},
		schedules:    map[cluster.ScheduleID]cluster.Schedule{},
		observed:     map[cluster.NodeID]cluster.Observed{},
	}
}

// readWorld reads everything, linearizably, at one revision. A record that
// cannot be understood fails the whole: taken for absent it would be a deletion.
func readWorld(ctx context.Context, s *store.Store) (*world, error) {
	w := newWorld()
	rev, err := s.Read(ctx, func(tx *store.Tx) error {
		all, err := s.All(ctx, tx)
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := w.apply(c); err != nil {
				return err
			}
		}
		return nil
	})
	w.revision = rev
	return w, err
}

// applyBatch brings the world forward.
func (w *world) applyBatch(b store.Batch) error {
	for _, c := range b.Changes {
		if err := w.apply(c); err != nil {
			return err
		}
	}
	w.revision = b.Revision
	return nil
}

func (w *world) apply(c store.Change) error {
	collection, name, _ := strings.Cut(c.Key, "/")
	switch collection + "/" {
	case string(store.Nodes):
		return applyTo(w.nodes, cluster.NodeID(name), c, store.Nodes)
	case string(store.Sessions):
		return applyTo(w.sessions, cluster.NodeID(name), c, store.Sessions)
	case string(store.Datasets):
		return applyTo(w.datasets, cluster.DatasetID(name), c, store.Datasets)
	case string(store.Applications):
		return applyTo(w.applications, name, c, store.Applications)
	case string(store.Moves):
		return applyTo(w.moves, cluster.MoveID(name), c, store.Moves)
	case string(store.Progress):
		return applyTo(w.progress, cluster.MoveID(name), c, store.Progress)
	case string(store.Leases):
		return applyTo(w.leases, cluster.DatasetID(name), c, store.Leases)
	case string(store.Doomed):
		return applyTo(w.doomed, name, c, store.Doomed)
	case string(store.Schedules):
		return applyTo(w.schedules, cluster.ScheduleID(name), c, store.Schedules)
	case "meta/":
		return w.applyMeta(c)
	case "observed/":
		return w.applyObserved(c)
	}
	return nil
}

func applyTo[K comparable, V any](m map[K]V, k K, c store.Change, key store.Key[V]) error {
	if c.Deleted() {
		delete(m, k)
		return nil
	}
	v, err := store.Value(c, key)
	if err != nil {
		return err
	}
	m[k] = v
	return nil
}

func (w *world) applyMeta(c store.Change) (err error) {
	switch {
	case c.Deleted():
	case c.Key == string(store.MetaKey):
		w.meta, err = store.Value(c, store.MetaKey)
	case c.Key == string(store.FabricKey):
		w.fabric, err = store.Value(c, store.FabricKey)
	}
	return err
}

func (w *world) applyObserved(c store.Change) error {
	node, part, name, ok := store.ObservedKey(c.Key)
	if !ok {
		return fmt.Errorf("record %s is unknown: %w", c.Key, cluster.ErrUnavailable)
	}
	o := w.observed[node]
	o.Node = node
	var err error
	switch part {
	case "node":
		err = applyNodePart(&o, c)
	case "copy":
		o.Copies, err = appliedTo(o.Copies, cluster.DatasetID(name), c, store.Copies(node))
	case "container":
		o.Containers, err = appliedTo(o.Containers, name, c, store.Containers(node))
	case "status":
		o.Status, err = appliedTo(o.Status, name, c, store.Statuses(node))
	default:
		err = fmt.Errorf("record %s is unknown: %w", c.Key, cluster.ErrUnavailable)
	}
	if err != nil {
		return err
	}
	w.observed[node] = o
	return nil
}

// appliedTo changes a copy of the map, since observations are handed out.
func appliedTo[K comparable, V any](m map[K]V, k K, c store.Change, key store.Key[V]) (map[K]V, error) {
	if m = maps.Clone(m); m == nil {
		m = map[K]V{}
	}
	return m, applyTo(m, k, c, key)
}

func applyNodePart(o *cluster.Observed, c store.Change) error {
	var part cluster.Observed
	if !c.Deleted() {
		var err error
		if part, err = store.Value(c, store.ObservedNode(o.Node)); err != nil {
			return err
		}
	}
	part.Node, part.Copies, part.Containers, part.Status = o.Node, o.Copies, o.Containers, o.Status
	*o = part
	return nil
}

// node is a node with its liveness.
func (w *world) node(id cluster.NodeID) cluster.Node {
	n := w.nodes[id]
	n.Session = w.sessions[id].ID
	return n
}

// observedOn is what a node sees, with the time when it was last heard.
func (w *world) observedOn(id cluster.NodeID) cluster.Observed {
	o := w.observed[id]
	o.Node = id
	if n := w.node(id); !n.Alive() {
		o.LastSeen = n.LastSeen
	}
	return o
}

// elsewhere is what other nodes get to know of a node's observation: all but what only users read.
func (w *world) elsewhere(id cluster.NodeID) cluster.Observed {
	o := w.observedOn(id)
	o.Status, o.Ports = nil, nil
	return o
}

// desired is the state as one node gets it.
func (w *world) desired(session string) cluster.Desired {
	d := cluster.NewDesired()
	d.Revision, d.Incarnation, d.Session = w.revision, w.meta.Incarnation, session
	d.Complete, d.Fabric = true, w.fabric
	for id := range w.nodes {
		d.Nodes[id] = w.node(id)
		if _, seen := w.observed[id]; seen { // the node's own too: what its agent's last process knew
			d.Elsewhere[id] = w.elsewhere(id)
		}
	}
	maps.Copy(d.Datasets, w.datasets)
	maps.Copy(d.Applications, w.applications)
	maps.Copy(d.Leases, w.leases)
	for _, m := range w.currentMoves() {
		d.Moves[m.ID] = m
	}
	return d
}

// currentMoves are the active moves and the newest of the ended ones.
func (w *world) currentMoves() []cluster.Move {
	var active, ended []cluster.Move
	for _, m := range w.moves {
		if m.Phase.Terminal() {
			ended = append(ended, m)
		} else {
			active = append(active, m)
		}
	}
	slices.SortFunc(ended, func(a, b cluster.Move) int { return b.Ended.Compare(a.Ended) })
	return append(active, ended[:min(len(ended), recentMoves)]...)
}

// age is how long ago a node was last heard; 0 while it is alive.
func (w *world) age(id cluster.NodeID, now time.Time) time.Duration {
	n := w.node(id)
	if n.Alive() || n.LastSeen.IsZero() {
		return 0
	}
	return now.Sub(n.LastSeen)
}
