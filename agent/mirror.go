// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// mirror is the desired state as the watch stream built it up. What it gives out is
// never changed afterwards.
type mirror struct {
	self cluster.NodeID

	mu      sync.Mutex
	desired cluster.Desired
	session api.Session
	changed chan struct{} // closed at each change
}

func newMirror(self cluster.NodeID) *mirror {
	return &mirror{self: self, desired: cluster.NewDesired(), changed: make(chan struct{})}
}

// begin starts over in a new session: nothing read before counts (rule 9). It says whether the session is a new one.
func (m *mirror) begin(s api.Session) (anew bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session.ID == s.ID && m.session.Incarnation == s.Incarnation {
		return false
	}
	m.session = s
	m.desired.Complete = false
	m.signal()
	return true
}

func (m *mirror) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// next is closed at the next change.
func (m *mirror) next() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// stir tells those who wait for a change that this node has looked at itself.
func (m *mirror) stir() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.signal()
}

func (m *mirror) read() (cluster.Desired, api.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.desired, m.session
}

// apply takes one message in and says whether there is anything in it to act on.
func (m *mirror) apply(e api.WatchEvent) bool {
	if e.Full == nil && e.Put == nil && e.Delete == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	stirs := m.stirring(e)
	if e.Full != nil {
		m.desired = *e.Full
		m.desired.Complete = true
		m.desired.Session = m.session.ID
		m.desired.Incarnation = m.session.Incarnation
	}
	m.desired = withPart(m.desired, e)
	if e.Revision > m.desired.Revision {
		m.desired.Revision = e.Revision
	}
	m.signal()
	return stirs
}

// stirring says whether an event holds something that a plan can rest on. Of what other nodes see that is only which
// copies they have, without how much room those take up: nodes that are busy would keep all others awake.
func (m *mirror) stirring(e api.WatchEvent) bool {
	if e.Full != nil || e.Delete != nil || e.Put == nil {
		return true
	}
	p := *e.Put
	if p.Fabric != (cluster.Fabric{}) || len(p.Nodes)+len(p.Datasets)+len(p.Applications)+len(p.Moves)+len(p.Leases) > 0 {
		return true
	}
	for id, now := range p.Elsewhere {
		before, known := m.desired.Elsewhere[id]
		if id != m.self && (!known || !reflect.DeepEqual(withoutFigures(before.Copies), withoutFigures(now.Copies))) {
			return true
		}
	}
	return false
}

func withoutFigures(copies map[cluster.DatasetID]cluster.Copy) map[cluster.DatasetID]cluster.Copy {
	copies = maps.Clone(copies)
	for id, c := range copies {
		c.Used, c.Snapshots = 0, slices.Clone(c.Snapshots)
		for i := range c.Snapshots {
			c.Snapshots[i].Used = 0
		}
		copies[id] = c
	}
	return copies
}

// reached waits until the mirror has caught up with a revision.
func (m *mirror) reached(ctx context.Context, rev cluster.Revision) error {
	for {
		m.mu.Lock()
		at, changed := m.desired.Revision, m.changed
		m.mu.Unlock()
		if at >= rev {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// withPart returns d with the differences of e, on maps of its own.
func withPart(d cluster.Desired, e api.WatchEvent) cluster.Desired {
	d.Nodes = maps.Clone(d.Nodes)
	d.Datasets = maps.Clone(d.Datasets)
	d.Applications = maps.Clone(d.Applications)
	d.Moves = maps.Clone(d.Moves)
	d.Leases = maps.Clone(d.Leases)
	d.Elsewhere = maps.Clone(d.Elsewhere)
	fresh := cluster.NewDesired()
	if d.Nodes == nil {
		d.Nodes = fresh.Nodes
	}
	if d.Datasets == nil {
		d.Datasets = fresh.Datasets
	}
	if d.Applications == nil {
		d.Applications = fresh.Applications
	}
	if d.Moves == nil {
		d.Moves = fresh.Moves
	}
	if d.Leases == nil {
		d.Leases = fresh.Leases
	}
	if d.Elsewhere == nil {
		d.Elsewhere = fresh.Elsewhere
	}
	if e.Put != nil {
		if e.Put.Fabric != (cluster.Fabric{}) {
			d.Fabric = e.Put.Fabric
		}
		putPart(d, *e.Put)
	}
	if e.Delete != nil {
		deletePart(d, *e.Delete)
	}
	return d
}

func putPart(d cluster.Desired, p api.DesiredPart) {
	for _, v := range p.Nodes {
		d.Nodes[v.ID] = v
	}
	for _, v := range p.Datasets {
		d.Datasets[v.ID] = v
	}
	for _, v := range p.Applications {
		d.Applications[v.Name] = v
	}
	for _, v := range p.Moves {
		d.Moves[v.ID] = v
	}
	for _, v := range p.Leases {
		d.Leases[v.Dataset] = v
	}
	maps.Copy(d.Elsewhere, p.Elsewhere)
}

func deletePart(d cluster.Desired, k api.DesiredKeys) {
	for _, id := range k.Nodes {
		delete(d.Nodes, id)
		delete(d.Elsewhere, id)
	}
	for _, id := range k.Datasets {
		delete(d.Datasets, id)
	}
	for _, name := range k.Applications {
		delete(d.Applications, name)
	}
	for _, id := range k.Moves {
		delete(d.Moves, id)
	}
	for _, id := range k.Leases {
		delete(d.Leases, id)
	}
}

// incomplete makes the next watch begin with a full read.
func (m *mirror) incomplete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.desired.Complete = false
	m.signal()
}
