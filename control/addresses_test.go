// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// holdings are what the store says of addresses at one revision.
type holdings struct {
	holders      map[string]store.Holder
	nodes        []cluster.Node
	applications []cluster.Application
}

func readHoldings(ctx context.Context, s *store.Store) (holdings, error) {
	h := holdings{holders: map[string]store.Holder{}}
	_, err := s.Read(ctx, func(tx *store.Tx) error {
		held, err := store.List(ctx, tx, store.Addresses)
		if err != nil {
			return err
		}
		for _, r := range held {
			h.holders[r.Name] = r.Value
		}
		nodes, err := store.List(ctx, tx, store.Nodes)
		for _, r := range nodes {
			h.nodes = append(h.nodes, r.Value)
		}
		apps, err2 := store.List(ctx, tx, store.Applications)
		for _, r := range apps {
			h.applications = append(h.applications, r.Value)
		}
		return errors.Join(err, err2)
	})
	return h, err
}

// check holds at every revision: each node and application has an address of its own, and no address is held by what is gone.
func (h holdings) check() error {
	var wrong []error
	used := map[string]store.Holder{}
	claim := func(addr string, by store.Holder) {
		if other, twice := used[addr]; twice {
			wrong = append(wrong, fmt.Errorf("%s and %s both have %s", other, by, addr))
		}
		if used[addr] = by; h.holders[addr] != by {
			wrong = append(wrong, fmt.Errorf("%s has %q, which is held by %q", by, addr, h.holders[addr]))
		}
	}
	for _, n := range h.nodes {
		claim(n.ClusterAddress, store.NodeHolder(n.ID))
	}
	for _, a := range h.applications {
		claim(a.Address, store.ApplicationHolder(a.Name))
	}
	for addr, by := range h.holders {
		if _, there := used[addr]; !there {
			wrong = append(wrong, fmt.Errorf("%s is held by %s, which is gone", addr, by))
		}
	}
	return errors.Join(wrong...)
}

func (s *stage) holdings() holdings {
	s.t.Helper()
	h, err := readHoldings(s.t.Context(), s.store)
	if err == nil {
		err = h.check()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// remove deletes an application and has its node say that nothing of it is left.
func (s *stage) remove(name, node string) error {
	gone, err := s.service.DeleteApplication(s.t.Context(), "test", name)
	if err != nil {
		return err
	}
	return s.service.Observe(s.t.Context(), s.actors[node].id, api.ObservedReport{
		Session: s.actors[node].session, Observed: cluster.Observed{Revision: gone.Revision},
	})
}

func (s *stage) create(names []string, node string) error {
	var r api.DeployRequest
	for _, name := range names {
		r.Applications = append(r.Applications, cluster.Application{Name: name, Image: "x", Node: cluster.NodeID(node), Address: "10.144.0.1"})
	}
	return second(s.service.Deploy(s.t.Context(), "test", r))
}

func TestNoAddressIsEverGivenTwiceAndFreedOnesComeBack(t *testing.T) {
	t.Parallel()
	s := newStageOf(t, "192.168.7.0/24", "a", "b", "c")
	steps, names := 25, []string{"a", "b", "c"}
	if testing.Short() {
		steps = 8
	}
	ctx, stop := context.WithCancel(t.Context())
	var watching, working sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			h, err := readHoldings(ctx, s.store)
			if ctx.Err() == nil {
				if err = errors.Join(err, h.check()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i, node := range names {
		working.Go(func() { s.churn(t, i, node, steps) })
	}
	working.Go(func() { s.nodesComeAndGo(t, steps) })
	working.Wait()
	stop()
	watching.Wait()
	if h := s.holdings(); len(h.holders) != len(names) {
		t.Errorf("everything was removed but the nodes, and there are %v", h.holders)
	}
}

// churn creates and removes applications of one client, one and several at once, and removes all in the end.
func (s *stage) churn(t *testing.T, client int, node string, steps int) {
	random := rand.New(rand.NewPCG(uint64(client), 7))
	var there []string
	again := func(try func() error) {
		err := try()
		for range 50 {
			if !errors.Is(err, cluster.ErrUnavailable) { // others were faster, too often
				break
			}
			err = try()
		}
		if err != nil {
			t.Errorf("client %d: %v", client, err)
		}
	}
	for step := range steps {
		again(func() error { // on a busy machine all of it takes longer than a session's time-out
			return second(s.service.Renew(t.Context(), s.actors[node].id, api.RenewRequest{Session: s.actors[node].session}))
		})
		if len(there) == 0 || (random.IntN(3) > 0 && len(there) < 60) {
			var fresh []string
			for k := range 1 + random.IntN(8) {
				fresh = append(fresh, fmt.Sprintf("app-%d-%d-%d", client, step, k))
			}
			again(func() error { return s.create(fresh, node) })
			there = append(there, fresh...)
			continue
		}
		at := random.IntN(len(there))
		again(func() error { return ignoreGone(s.remove(there[at], node)) })
		there = append(there[:at], there[at+1:]...)
	}
	for _, name := range there {
		again(func() error { return ignoreGone(s.remove(name, node)) })
	}
	again(func() error { // for a deletion after which the report met others
		at, err := s.store.Revision(t.Context())
		return errors.Join(err, s.service.Observe(t.Context(), s.actors[node].id, api.ObservedReport{
			Session: s.actors[node].session, Observed: cluster.Observed{Revision: at},
		}))
	})
}

// ignoreGone is for what was done though the answer said that others were faster.
func ignoreGone(err error) error {
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	return err
}

// nodesComeAndGo has several nodes join at the same moment: nothing but their addresses makes their sessions meet.
func (s *stage) nodesComeAndGo(t *testing.T, steps int) {
	for i := range steps / 4 {
		var joining sync.WaitGroup
		for k := range 4 {
			joining.Go(func() { s.comeAndGo(t, fmt.Sprintf("guest-%d-%d", i, k)) })
		}
		joining.Wait()
	}
}

func (s *stage) comeAndGo(t *testing.T, name string) {
	id := cluster.NodeID(uuid.NewString())
	request := api.SessionRequest{Name: name, Address: "127.0.0.1", AgentAddress: "127.0.0.1:4525", BootID: "b", Protocol: 1, Process: "p"}
	if err := second(s.service.OpenSession(t.Context(), id, request)); err != nil {
		t.Errorf("node %s: %v", name, err)
		return
	}
	_, err := s.store.Update(t.Context(), func(tx *store.Tx) error {
		store.Delete(tx, store.Sessions.Under(string(id)))
		return nil
	})
	if err == nil {
		err = cluster.ErrUnavailable
	}
	for range 50 {
		if !errors.Is(err, cluster.ErrUnavailable) {
			break
		}
		err = ignoreGone(s.service.ForgetNode(t.Context(), "test", string(id)))
	}
	if err != nil {
		t.Errorf("node %s: %v", name, err)
	}
}
