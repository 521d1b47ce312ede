// SPDX-License-Identifier: Apache-2.0

package control

import (
	"strings"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// difference turns a batch into what the node should hear, and brings w forward.
// w may be ahead of the batch, after a resume.
func difference(w *world, node cluster.NodeID, b store.Batch) (api.WatchEvent, error) {
	d := differ{put: api.DesiredPart{}, nodes: map[cluster.NodeID]bool{}, seen: map[cluster.NodeID]bool{}}
	last := map[string]store.Change{}
	var order []string
	for _, c := range b.Changes {
		if c.Revision > w.revision {
			if err := w.apply(c); err != nil {
				return api.WatchEvent{}, err
			}
		}
		if _, again := last[c.Key]; !again {
			order = append(order, c.Key)
		}
		last[c.Key] = c
	}
	w.revision = max(w.revision, b.Revision)
	for _, key := range order {
		if err := d.add(last[key]); err != nil {
			return api.WatchEvent{}, err
		}
	}
	return d.event(w, node, b.Revision), nil
}

type differ struct {
	put   api.DesiredPart
	gone  api.DesiredKeys
	nodes map[cluster.NodeID]bool // changed, or their session did
	seen  map[cluster.NodeID]bool // observed something new
}

func (d *differ) add(c store.Change) error {
	collection, name, _ := strings.Cut(c.Key, "/")
	switch collection + "/" {
	case string(store.Datasets):
		return changed(c, store.Datasets, &d.put.Datasets, cluster.DatasetID(name), &d.gone.Datasets)
	case string(store.Applications):
		return changed(c, store.Applications, &d.put.Applications, name, &d.gone.Applications)
	case string(store.Moves):
		return changed(c, store.Moves, &d.put.Moves, cluster.MoveID(name), &d.gone.Moves)
	case string(store.Leases):
		return changed(c, store.Leases, &d.put.Leases, cluster.DatasetID(name), &d.gone.Leases)
	case string(store.Nodes):
		d.nodes[cluster.NodeID(name)] = true
	case string(store.Sessions):
		d.nodes[cluster.NodeID(name)] = true
		d.seen[cluster.NodeID(name)] = true // with when it was last heard
	case "meta/":
		return d.addMeta(c)
	case "observed/":
		id, part, _, _ := store.ObservedKey(c.Key)
		if part != "status" {
			d.seen[id] = true
		}
	}
	return nil
}

func (d *differ) addMeta(c store.Change) (err error) {
	switch {
	case c.Key == string(store.MetaKey):
		return errRestart
	case c.Key == string(store.FabricKey) && !c.Deleted():
		d.put.Fabric, err = store.Value(c, store.FabricKey)
	}
	return err
}

func changed[V any, K any](c store.Change, key store.Key[V], put *[]V, name K, gone *[]K) error {
	if c.Deleted() {
		*gone = append(*gone, name)
		return nil
	}
	v, err := store.Value(c, key)
	*put = append(*put, v)
	return err
}

// event has no part that is empty; without any it only tells the revision.
func (d *differ) event(w *world, node cluster.NodeID, rev cluster.Revision) api.WatchEvent {
	for id := range d.nodes {
		if _, there := w.nodes[id]; there {
			d.put.Nodes = append(d.put.Nodes, w.node(id))
		} else {
			d.gone.Nodes = append(d.gone.Nodes, id)
		}
	}
	for id := range d.seen {
		if _, there := w.observed[id]; !there || id == node {
			continue
		}
		if d.put.Elsewhere == nil {
			d.put.Elsewhere = map[cluster.NodeID]cluster.Observed{}
		}
		d.put.Elsewhere[id] = w.elsewhere(id)
	}
	e := api.WatchEvent{Revision: rev}
	p, g := d.put, d.gone
	if p.Fabric != (cluster.Fabric{}) || len(p.Nodes)+len(p.Datasets)+len(p.Applications)+len(p.Moves)+len(p.Leases)+len(p.Elsewhere) > 0 {
		e.Put = &p
	}
	if len(g.Nodes)+len(g.Datasets)+len(g.Applications)+len(g.Moves)+len(g.Leases) > 0 {
		e.Delete = &g
	}
	return e
}
