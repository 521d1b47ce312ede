// SPDX-License-Identifier: Apache-2.0

package dockerplugin_test

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// memory is a cluster in memory: the control service's rules for volumes, and nodes that do at once what it says.
type memory struct {
	t       *testing.T
	mu      sync.Mutex
	away    bool // the control service
	slow    bool // moves stay where they are
	desired cluster.Desired
	seen    map[cluster.NodeID]*cluster.Observed
	users   map[cluster.NodeID]map[cluster.DatasetID]string
	changed chan struct{}
	asked   int // requests to the control service
}

func newMemory(t *testing.T, nodes ...cluster.NodeID) *memory {
	m := &memory{
		t: t, desired: cluster.NewDesired(), seen: map[cluster.NodeID]*cluster.Observed{},
		users: map[cluster.NodeID]map[cluster.DatasetID]string{}, changed: make(chan struct{}),
	}
	for _, n := range nodes {
		m.desired.Nodes[n] = cluster.Node{ID: n, Name: string(n)}
		m.seen[n] = &cluster.Observed{Node: n, Copies: map[cluster.DatasetID]cluster.Copy{}}
		m.users[n] = map[cluster.DatasetID]string{}
	}
	m.desired.Revision = 1
	return m
}

// change does something as one step that everybody hears of.
func (m *memory) change(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changeLocked(do)
}

func (m *memory) changeLocked(do func()) {
	d := &m.desired
	d.Datasets, d.Leases, d.Moves = maps.Clone(d.Datasets), maps.Clone(d.Leases), maps.Clone(d.Moves)
	do()
	d.Revision++
	close(m.changed)
	m.changed = make(chan struct{})
}

// run makes a container that Docker runs on a node use a volume; none ends it.
func (m *memory) run(n cluster.NodeID, volume, name string) {
	m.change(func() {
		users := maps.Clone(m.users[n])
		users[m.byName(volume).ID] = name
		m.users[n] = users
	})
}

func (m *memory) byName(name string) cluster.Dataset {
	for _, d := range m.desired.Datasets {
		if d.Name == name {
			return d
		}
	}
	return cluster.Dataset{}
}

// until waits for something to be so.
func (m *memory) until(what string, is func() bool) {
	m.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		m.mu.Lock()
		changed, ok := m.changed, is()
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			m.t.Fatalf("waited for %s", what)
		}
	}
}

func (m *memory) leased(volume string) bool {
	_, held := m.desired.Leases[m.byName(volume).ID]
	return held
}

// machine is one node of it.
type machine struct {
	*memory
	id cluster.NodeID
}

func (n machine) State() (cluster.Desired, cluster.Observed, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := *n.seen[n.id]
	o.Copies = maps.Clone(o.Copies)
	return n.desired, o, n.changed
}

func (n machine) Folder(id cluster.DatasetID) string { return "/flocker/" + string(id) + "/data" }

func (n machine) Users(context.Context) (map[cluster.DatasetID]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.users[n.id], nil
}

// request is what the control service does with one, as one transaction.
func (n machine) request(ref string, do func(d cluster.Dataset) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.away {
		return fmt.Errorf("connection refused: %w", cluster.ErrUnavailable)
	}
	d := n.byName(ref)
	if d.ID == "" {
		return fmt.Errorf("dataset %q: %w", ref, cluster.ErrNotFound)
	}
	return do(d)
}

func (n machine) Volume(_ context.Context, ref string) (info api.DatasetInfo, err error) {
	err = n.request(ref, func(d cluster.Dataset) error {
		info.Dataset = d
		if l, held := n.desired.Leases[d.ID]; held {
			info.Lease = &l
		}
		return nil
	})
	return info, err
}

func (n machine) CreateVolume(_ context.Context, r api.DatasetRequest) (cluster.Dataset, error) {
	return n.add(cluster.Dataset{Name: r.Name, Size: r.Size, Profile: r.Profile, Backend: r.Backend, Root: r.Root, Metadata: r.Metadata})
}

func (n machine) add(d cluster.Dataset) (cluster.Dataset, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.away {
		return d, fmt.Errorf("connection refused: %w", cluster.ErrUnavailable)
	}
	if n.byName(d.Name).ID != "" {
		return d, fmt.Errorf("dataset name %q: %w", d.Name, cluster.ErrExists)
	}
	n.changeLocked(func() {
		d.ID, d.Owner, d.Epoch, d.Born = cluster.DatasetID("id-"+d.Name), n.id, 1, true
		n.desired.Datasets[d.ID] = d
		n.settleAt(d)
	})
	return d, nil
}

// settleAt has the owner mount a dataset, and nobody else.
func (n machine) settleAt(d cluster.Dataset) {
	for id, o := range n.seen {
		delete(o.Copies, d.ID)
		if id == d.Owner {
			o.Copies[d.ID] = cluster.Copy{Dataset: d.ID, Head: true, Epoch: d.Epoch, Mounted: "/flocker/" + string(d.ID)}
		}
	}
}

func (n machine) CloneVolume(ctx context.Context, ref string, r api.CloneRequest) (cluster.Dataset, error) {
	from, err := n.Volume(ctx, ref)
	if err != nil {
		return cluster.Dataset{}, err
	}
	return n.add(cluster.Dataset{Name: r.Name, Origin: &cluster.Origin{Dataset: from.ID}})
}

func (n machine) free(d cluster.Dataset) error {
	if l, held := n.desired.Leases[d.ID]; held {
		return fmt.Errorf("dataset %s is in use on node %s by container %s (%s): %w", d.Name, l.Node, n.users[l.Node][d.ID], l.Holder, cluster.ErrConflict)
	}
	return nil
}

func (n machine) DeleteVolume(_ context.Context, ref string) (gone cluster.Dataset, err error) {
	return gone, n.request(ref, func(d cluster.Dataset) error {
		if err := n.free(d); err != nil {
			return err
		}
		gone = d
		n.changeLocked(func() { delete(n.desired.Datasets, d.ID) })
		return nil
	})
}

func (n machine) MoveVolume(_ context.Context, ref string) (mv cluster.Move, err error) {
	return mv, n.request(ref, func(d cluster.Dataset) error {
		if err := n.free(d); err != nil {
			return err
		}
		mv = cluster.Move{ID: "move-" + cluster.MoveID(ref), Source: d.Owner, Target: n.id, Datasets: []cluster.DatasetID{d.ID}, Phase: cluster.MoveCleaned}
		if n.slow {
			mv.Phase = cluster.MoveCopying
		}
		n.changeLocked(func() {
			n.desired.Moves[mv.ID] = mv
			if !n.slow {
				d.Owner, d.Epoch = n.id, d.Epoch+1
				n.desired.Datasets[d.ID] = d
				n.settleAt(d)
			}
		})
		return nil
	})
}

func (n machine) HoldVolume(_ context.Context, ref string) (l cluster.Lease, err error) {
	return l, n.request(ref, func(d cluster.Dataset) error {
		l = cluster.Lease{Dataset: d.ID, Node: n.id, Holder: api.HolderDocker}
		if n.desired.Leases[d.ID] == l {
			return nil
		}
		if err := n.free(d); err != nil {
			return err
		}
		if d.Owner != n.id {
			return fmt.Errorf("it is on node %s: %w", d.Owner, cluster.ErrPrecondition)
		}
		n.changeLocked(func() { n.desired.Leases[d.ID] = l })
		return nil
	})
}

func (n machine) ReleaseVolume(_ context.Context, ref string) (l cluster.Lease, err error) {
	return l, n.request(ref, func(d cluster.Dataset) error {
		n.changeLocked(func() { delete(n.desired.Leases, d.ID) })
		return nil
	})
}
