// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control"
	"github.com/flocker-project/flocker/control/store"
)

// earlier is a store as a version without a cluster network left it.
func earlier(t *testing.T, applications int) (*store.Store, cluster.NodeID) {
	t.Helper()
	s, node := emptyStore(t), cluster.NodeID(uuid.NewString())
	write(t, s, func(tx *store.Tx) error {
		return store.Put(tx, store.Nodes.Under(string(node)), cluster.Node{ID: node, Name: "a", Address: "127.0.0.1", BootID: "boot-1", Protocol: 1})
	})
	for i := 0; i < applications; {
		write(t, s, func(tx *store.Tx) error {
			for range min(1000, applications-i) {
				if err := putEarlier(tx, cluster.Application{Name: fmt.Sprint("app-", i), Image: "x", Node: node}); err != nil {
					return err
				}
				i++
			}
			return nil
		})
	}
	return s, node
}

func putEarlier(tx *store.Tx, a cluster.Application) error {
	return store.Put(tx, store.Applications.Under(a.Name), a)
}

func write(t *testing.T, s *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if _, err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAnEarlierVersionMadeGetsItsAddressAtTheStart(t *testing.T) {
	t.Parallel()
	count := 5000 // more than one transaction holds
	if testing.Short() {
		count = 100
	}
	s, _ := earlier(t, count)
	service := control.NewService(s, nil, "test", quiet())
	for range 2 { // the second start finds nothing to do
		if err := service.EnsureFabric(t.Context(), cluster.Fabric{}); err != nil {
			t.Fatal(err)
		}
		h, err := readHoldings(t.Context(), s)
		if err = errors.Join(err, h.check()); err != nil {
			t.Fatal(err)
		}
		if len(h.holders) != count+1 || len(h.nodes) != 1 || h.nodes[0].ClusterAddress != "10.144.0.2" {
			t.Errorf("%d addresses are held; nodes %+v", len(h.holders), h.nodes)
		}
	}
}

// TestAMoveOfAnEarlierVersionEndsBeforeItsApplicationGetsAnAddress: with one it would need a new container in the midst of it.
func TestAMoveOfAnEarlierVersionEndsBeforeItsApplicationGetsAnAddress(t *testing.T) {
	t.Parallel()
	s, node := earlier(t, 0)
	moving := cluster.Application{Name: "moving", Image: "x", Node: node, Move: "m"}
	write(t, s, func(tx *store.Tx) error {
		return errors.Join(putEarlier(tx, moving), putEarlier(tx, cluster.Application{Name: "dying", Image: "x", Node: node, Deleted: true}))
	})
	service := control.NewService(s, nil, "test", quiet())
	if err := service.EnsureFabric(t.Context(), cluster.Fabric{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	kept := make(chan error, 1)
	following := make(chan struct{}, 100)
	go func() { kept <- service.Keep(ctx, func(cluster.Revision) { following <- struct{}{} }) }()
	<-following
	if h, err := readHoldings(t.Context(), s); err != nil || len(h.holders) != 1 {
		t.Errorf("an application in a move, or one that is being removed, has an address: %v, %v", h.holders, err)
	}
	moving.Move = ""
	write(t, s, func(tx *store.Tx) error { return putEarlier(tx, moving) })
	for {
		select {
		case <-following:
		case <-ctx.Done():
			t.Fatal("the move has ended, and its application has no address")
		}
		info, err := service.GetApplication(ctx, "moving")
		if err != nil {
			t.Fatal(err)
		}
		if info.Address != "" {
			break
		}
	}
	stop()
	wantError(t, <-kept, context.Canceled)
}

func TestASubnetWithoutRoomForWhatIsThereIsNotKept(t *testing.T) {
	t.Parallel()
	s, _ := earlier(t, 253)
	service := control.NewService(s, nil, "test", quiet())
	err := service.EnsureFabric(t.Context(), cluster.Fabric{Subnet: "192.168.7.0/24"})
	if !errors.Is(err, cluster.ErrInvalid) || !strings.Contains(err.Error(), "192.168.7.0/24 has 253 addresses, and there are 1 nodes and 253 applications") {
		t.Errorf("got %v", err)
	}
	if err := service.EnsureFabric(t.Context(), cluster.Fabric{Subnet: "192.168.0.0/16"}); err != nil {
		t.Errorf("with a larger one: %v", err)
	}
}

// TestAnAgentThatWasConnectedBeforeHearsOfTheFabric as a difference, after which it knows the same as from a full state.
func TestAnAgentThatWasConnectedBeforeHearsOfTheFabric(t *testing.T) {
	t.Parallel()
	st, node := earlier(t, 3)
	s := &stage{t: t, service: control.NewService(st, nil, "test", quiet()), store: st, actors: map[string]*actor{"a": {id: node, session: "s"}}}
	lease, err := st.Grant(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	write(t, st, func(tx *store.Tx) error {
		return store.PutLeased(tx, store.Sessions.Under(string(node)), store.Session{ID: "s", Node: node, BootID: "boot-1", Lease: lease}, lease)
	})
	before := cluster.NewDesired()
	before.Revision = s.revision()
	if err := s.service.EnsureFabric(t.Context(), cluster.Fabric{}); err != nil {
		t.Fatal(err)
	}
	at := s.revision()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	heard := before
	err = s.service.Feed(ctx, node, "s", before.Revision, func(e api.WatchEvent) error {
		if e.Full != nil {
			t.Error("it was told everything anew")
		}
		if heard = applied(heard, e); heard.Revision >= at {
			return errEnough
		}
		return nil
	})
	wantError(t, err, errEnough)
	if heard.Fabric.Subnet != cluster.DefaultSubnet || heard.Nodes[node].ClusterAddress != "10.144.0.2" || heard.Applications["app-2"].Address == "" {
		t.Errorf("it heard of %+v, nodes %+v, applications %+v", heard.Fabric, heard.Nodes, heard.Applications)
	}
	if full, _ := s.feed("a", cluster.NewDesired(), at); full.Fabric != heard.Fabric {
		t.Errorf("the full state has %+v", full.Fabric)
	}
}

// TestTheFabricAloneIsWorthAnEvent when another control process keeps it while an agent is connected to this one.
func TestTheFabricAloneIsWorthAnEvent(t *testing.T) {
	t.Parallel()
	st, node := earlier(t, 0)
	lease, err := st.Grant(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	write(t, st, func(tx *store.Tx) error {
		return store.PutLeased(tx, store.Sessions.Under(string(node)), store.Session{ID: "s", Node: node, BootID: "boot-1", Lease: lease}, lease)
	})
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	service := control.NewService(st, nil, "test", quiet())
	err = service.Feed(ctx, node, "s", 0, func(e api.WatchEvent) error {
		if e.Full != nil {
			write(t, st, func(tx *store.Tx) error {
				return store.Put(tx, store.FabricKey, cluster.Fabric{Subnet: "10.200.0.0/16"})
			})
			return nil
		}
		if e.Put == nil || e.Put.Fabric.Subnet != "10.200.0.0/16" {
			return fmt.Errorf("event %+v tells nothing of the fabric", e)
		}
		return errEnough
	})
	wantError(t, err, errEnough)
}
