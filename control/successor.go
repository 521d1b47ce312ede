// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// byItself is who asks for a fail-over that nobody asked for.
const byItself = "automatic fail-over"

// successor takes the applications over that ask for that, once their node is not heard any more.
type successor struct {
	service *Service
	asking  map[string]cluster.Application // those that ask for it
	alive   map[cluster.NodeID]bool
	// lost is when this process first missed a node's session: never before it was over.
	lost   map[cluster.NodeID]time.Time
	failed map[string]string // why one cannot be taken over, of those that are due
	again  bool              // what those wait for may have happened
}

func (u *successor) read(ctx context.Context, tx *store.Tx) error {
	u.asking, u.alive, u.failed = map[string]cluster.Application{}, map[cluster.NodeID]bool{}, map[string]string{}
	u.again = true
	apps, err1 := store.List(ctx, tx, store.Applications)
	for _, r := range apps {
		u.application(r.Name, r.Value)
	}
	sessions, err2 := store.List(ctx, tx, store.Sessions)
	for _, r := range sessions {
		u.alive[cluster.NodeID(r.Name)] = true
	}
	u.miss()
	return errors.Join(err1, err2)
}

func (u *successor) application(name string, a cluster.Application) {
	u.again = true
	delete(u.asking, name)
	delete(u.failed, name)
	if a.FailOver != nil && !a.Deleted {
		u.asking[name] = a
	}
}

// miss notes since when nodes with applications that ask are missed.
func (u *successor) miss() {
	lost := map[cluster.NodeID]time.Time{}
	for _, a := range u.asking {
		if u.alive[a.Node] {
			continue
		}
		if lost[a.Node] = u.lost[a.Node]; lost[a.Node].IsZero() {
			lost[a.Node] = time.Now()
		}
	}
	u.lost = lost
}

func (u *successor) follow(c store.Change) error {
	collection, name, _ := strings.Cut(c.Key, "/")
	switch collection + "/" {
	case string(store.Sessions):
		u.again = true
		if u.alive[cluster.NodeID(name)] = !c.Deleted(); !c.Deleted() {
			delete(u.lost, cluster.NodeID(name))
		}
	case string(store.Applications):
		var a cluster.Application
		if !c.Deleted() {
			var err error
			if a, err = store.Value(c, store.Applications); err != nil {
				return err
			}
		}
		u.application(name, a)
	case string(store.Datasets), string(store.Moves), string(store.Nodes), "meta/":
		u.again = true
	case "observed/":
		if _, part, _, _ := store.ObservedKey(c.Key); part == "node" || part == "copy" {
			u.again = true
		}
	}
	u.miss()
	return nil
}

func (u *successor) elapsed() { u.again = true }

// due is how long it takes until an application is to be taken over; false where its node is heard.
func (u *successor) due(a cluster.Application) (time.Duration, bool) {
	since, lost := u.lost[a.Node]
	return a.FailOver.After.Std() - time.Since(since), lost
}

func (u *successor) pause() (time.Duration, bool) {
	wait, waiting := lookAgain, false
	for _, a := range u.asking {
		d, lost := u.due(a)
		waiting = waiting || lost
		if lost && d > 0 {
			wait = min(wait, d)
		}
	}
	return wait, waiting
}

// round takes over what is due. What cannot be is left until something changes, or a while has passed.
func (u *successor) round(ctx context.Context) error {
	if !u.again {
		return nil
	}
	u.again = false
	for _, name := range sortedKeys(u.asking) {
		if d, lost := u.due(u.asking[name]); !lost || d > 0 {
			continue
		}
		err := u.service.succeed(ctx, name)
		if errors.Is(err, cluster.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		if err != nil && u.failed[name] != err.Error() {
			u.failed[name] = err.Error()
			u.service.log.Warn("an application cannot be taken over by itself", "application", name, "reason", err)
		}
	}
	return nil
}

// succeed takes an application over from a node that is not heard, with all that shares its datasets, to the first node that may have it.
func (s *Service) succeed(ctx context.Context, name string) error {
	r, nodes, err := s.successors(ctx, name)
	if errors.Is(err, errHeard) || errors.Is(err, cluster.ErrNotFound) { // taken over with another, or removed, meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return fmt.Errorf("no other node is alive: %w", cluster.ErrPrecondition)
	}
	var reasons []error
	for _, n := range nodes {
		r.Node = string(n.ID)
		_, err := s.failOver(ctx, byItself, r, true)
		if err == nil || errors.Is(err, cluster.ErrUnavailable) {
			return err
		}
		reasons = append(reasons, fmt.Errorf("node %s: %w", n.Name, err))
	}
	return errors.Join(reasons...)
}

// errHeard says that the application is where it is heard.
var errHeard = errors.New("its node is heard")

// successors are the nodes that may take an application over, the best first: with the newest replicas, then with the fewest applications.
func (s *Service) successors(ctx context.Context, name string) (r api.FailOverRequest, nodes []cluster.Node, err error) {
	_, err = s.store.Read(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		apps, sets, err := d.group(name, "")
		if err != nil {
			return err
		}
		if _, heard := d.sessions[d.applications[name].Node]; heard {
			return errHeard
		}
		r = api.FailOverRequest{Application: name, MaxLoss: d.leastLoss(apps)}
		if sets, err = d.replicated(ctx, d.applications[name].Node, sets); err != nil {
			return err
		}
		replicas, crowd := map[cluster.NodeID]time.Time{}, map[cluster.NodeID]int{}
		for _, a := range d.applications {
			crowd[a.Node]++
		}
		nodes = nil
		for _, id := range sortedKeys(d.sessions) {
			n, known := d.nodes[id]
			if !known || id == d.applications[name].Node {
				continue
			}
			if replicas[id], err = d.oldestReplica(ctx, id, sets); err != nil {
				return err
			}
			nodes = append(nodes, n)
		}
		slices.SortStableFunc(nodes, func(a, b cluster.Node) int {
			return cmp.Or(replicas[b.ID].Compare(replicas[a.ID]), cmp.Compare(crowd[a.ID], crowd[b.ID]), cmp.Compare(a.Name, b.Name))
		})
		return nil
	})
	return r, nodes, err
}

// leastLoss is what all of the applications consent to.
func (d *draft) leastLoss(apps []string) cluster.Duration {
	var least cluster.Duration
	for i, name := range apps {
		var one cluster.Duration
		if f := d.applications[name].FailOver; f != nil {
			one = f.MaxLoss
		}
		if i == 0 || one < least {
			least = one
		}
	}
	return least
}

// replicated are those of the datasets that are not on network storage.
func (d *draft) replicated(ctx context.Context, owner cluster.NodeID, sets []cluster.DatasetID) ([]cluster.DatasetID, error) {
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(owner))
	return slices.DeleteFunc(sets, func(id cluster.DatasetID) bool {
		return seen.Back(d.datasets[id].Backend).Capabilities.Attaches
	}), ignoreNotFound(err)
}

// oldestReplica is when the oldest of the datasets' newest snapshots on a node was taken; zero where one has none there.
func (d *draft) oldestReplica(ctx context.Context, node cluster.NodeID, sets []cluster.DatasetID) (oldest time.Time, err error) {
	for i, id := range sets {
		c, err := store.Get(ctx, d.tx, store.Copies(node).Under(string(id)))
		if ignoreNotFound(err) != nil {
			return time.Time{}, err
		}
		if len(c.Snapshots) == 0 {
			return time.Time{}, nil
		}
		if newest := slices.MaxFunc(c.Snapshots, olderThan); i == 0 || newest.Created.Before(oldest) {
			oldest = newest.Created
		}
	}
	return oldest, nil
}
