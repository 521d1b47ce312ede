// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// left notes that the application was taken from a node of which nobody knows whether it still speaks for it.
func left(a cluster.Application, from cluster.Node, to cluster.NodeID) []cluster.NodeID {
	former := slices.DeleteFunc(slices.Clone(a.Former), func(n cluster.NodeID) bool { return n == from.ID || n == to })
	if !fenced(from) {
		former = append(former, from.ID)
	}
	return former
}

// formers ends what is noted of nodes that applications were taken over from, once they have told in a session that began since that they
// do not have them, or are known to be off.
type formers struct {
	service *Service
	apps    map[string]bool // those with such nodes
	again   bool            // one of the nodes may have told
}

func (f *formers) read(ctx context.Context, tx *store.Tx) error {
	f.apps, f.again = map[string]bool{}, true
	apps, err := store.List(ctx, tx, store.Applications)
	for _, r := range apps {
		f.application(r.Name, r.Value)
	}
	return err
}

func (f *formers) application(name string, a cluster.Application) {
	delete(f.apps, name)
	if len(a.Former) > 0 {
		f.apps[name], f.again = true, true
	}
}

func (f *formers) follow(c store.Change) error {
	if name, ok := strings.CutPrefix(c.Key, string(store.Applications)); ok {
		if c.Deleted() {
			delete(f.apps, name)
			return nil
		}
		a, err := store.Value(c, store.Applications)
		f.application(name, a)
		return err
	}
	_, part, _, ok := store.ObservedKey(c.Key)
	f.again = f.again || ok && (part == "node" || part == "container") || strings.HasPrefix(c.Key, string(store.Nodes))
	return nil
}

func (f *formers) elapsed()                     {}
func (f *formers) pause() (time.Duration, bool) { return 0, false }

func (f *formers) round(ctx context.Context) error {
	if !f.again {
		return nil
	}
	f.again = false
	for _, name := range sortedKeys(f.apps) {
		if err := f.service.hearFormer(ctx, name); err != nil {
			return fmt.Errorf("hear from former nodes of application %s: %w", name, err)
		}
	}
	return nil
}

// hearFormer leaves only those noted who have not told yet.
func (s *Service) hearFormer(ctx context.Context, name string) error {
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, err := newDraft(ctx, tx)
		if err != nil {
			return err
		}
		a, there := d.applications[name]
		if !there {
			return nil
		}
		var silent []cluster.NodeID
		for _, n := range a.Former {
			over, err := d.gaveUp(ctx, n, name)
			if err != nil {
				return err
			}
			if !over {
				silent = append(silent, n)
			}
		}
		if len(silent) == len(a.Former) {
			return nil
		}
		a.Former = silent
		return d.putApplication(a)
	})
	return err
}

// gaveUp says whether a node is off, or has told, in its session of now, that it has no container of the application. What it told before it
// was taken over from counts for nothing: that session is over.
func (d *draft) gaveUp(ctx context.Context, node cluster.NodeID, name string) (bool, error) {
	session, alive := d.sessions[node]
	if n, known := d.nodes[node]; !alive {
		return !known || fenced(n), nil
	}
	seen, err := store.Get(ctx, d.tx, store.ObservedNode(node))
	if err != nil || seen.Session != session.ID {
		return false, ignoreNotFound(err)
	}
	_, err = store.Get(ctx, d.tx, store.Containers(node).Under(name))
	return err != nil, ignoreNotFound(err)
}
