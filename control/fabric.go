// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// addressBatch is how many records get their address in one transaction at most: each takes a comparison and a write of
// the record and of the address.
func (s *Service) addressBatch() int { return max(1, s.store.MaxOps()/2-4) }

// EnsureFabric keeps the cluster network's subnets when the control service starts for the first time, and afterwards
// refuses other ones. An empty one is the stored one, else the default. What has no address yet, because an
// earlier version made it, gets one; a cluster that was made without IPv6 stays without.
func (s *Service) EnsureFabric(ctx context.Context, want cluster.Fabric) error {
	if err := checkFabric(want); err != nil {
		return err
	}
	var made cluster.Fabric
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		made = cluster.Fabric{}
		stored, err := store.Get(ctx, tx, store.FabricKey)
		switch {
		case errors.Is(err, cluster.ErrNotFound):
			if made, err = newFabric(ctx, tx, want); err != nil {
				return err
			}
			return store.Put(tx, store.FabricKey, made)
		case err != nil:
			return err
		}
		return sameFabric(stored, want)
	})
	if err != nil {
		return fmt.Errorf("the cluster network: %w", err)
	}
	if made.Subnet != "" {
		s.log.Info("the cluster network has its subnets", "subnet", made.Subnet, "subnet6", firstOf(made.Subnet6, cluster.Subnet6None))
	}
	return s.addressAll(ctx)
}

// checkFabric refuses what could be no cluster's, before anything is looked at.
func checkFabric(want cluster.Fabric) error {
	if want.Subnet != "" {
		if _, err := cluster.ParseSubnet(want.Subnet); err != nil {
			return err
		}
	}
	_, err := cluster.ChooseSubnet6(want.Subnet6, "")
	return err
}

// newFabric is that of a cluster that has none yet.
func newFabric(ctx context.Context, tx *store.Tx, want cluster.Fabric) (cluster.Fabric, error) {
	meta, err := store.Get(ctx, tx, store.MetaKey)
	if err != nil {
		return cluster.Fabric{}, err
	}
	made := cluster.Fabric{Subnet: firstOf(want.Subnet, cluster.DefaultSubnet)}
	if made.Subnet6, err = cluster.ChooseSubnet6(want.Subnet6, meta.Cluster); err != nil {
		return cluster.Fabric{}, err
	}
	return made, hasRoom(ctx, tx, made)
}

// sameFabric refuses another than the stored one.
func sameFabric(stored, want cluster.Fabric) error {
	const fixed = "it is fixed when the cluster is made"
	if want.Subnet != "" && want.Subnet != stored.Subnet {
		return fmt.Errorf("the cluster network of this cluster is %s, not %s: %s; "+
			"leave the subnet out, or give %s: %w", stored.Subnet, want.Subnet, fixed, stored.Subnet, cluster.ErrConflict)
	}
	have := firstOf(stored.Subnet6, cluster.Subnet6None)
	if want.Subnet6 != "" && want.Subnet6 != cluster.Subnet6Auto && want.Subnet6 != have {
		return fmt.Errorf("the IPv6 subnet of this cluster is %s, not %s: %s; "+
			"leave the subnet6 out, or give %s: %w", have, want.Subnet6, fixed, have, cluster.ErrConflict)
	}
	return nil
}

// hasRoom looks before the subnet is fixed whether what an earlier version made finds its place in it.
func hasRoom(ctx context.Context, tx *store.Tx, f cluster.Fabric) error {
	subnet, err := cluster.ParseSubnet(f.Subnet)
	if err != nil {
		return err
	}
	nodes, err := store.List(ctx, tx, store.Nodes)
	if err != nil {
		return err
	}
	applications, err := store.List(ctx, tx, store.Applications)
	if err != nil {
		return err
	}
	const reserved = 3 // the network's own address, the service address and the broadcast address
	if room := 1<<(32-subnet.Bits()) - reserved; len(nodes)+len(applications) > room {
		return fmt.Errorf("subnet %s has %d addresses, and there are %d nodes and %d applications; give a larger one: %w",
			subnet, room, len(nodes), len(applications), cluster.ErrInvalid)
	}
	return nil
}

// addressAll gives an address to each node and application without one.
func (s *Service) addressAll(ctx context.Context) error {
	w, err := readWorld(ctx, s.store)
	if err != nil {
		return err
	}
	return s.addressThose(ctx, w)
}

func (s *Service) addressThose(ctx context.Context, w *world) error {
	var without []store.Holder
	for _, id := range sortedKeys(w.nodes) {
		if w.nodes[id].ClusterAddress == "" {
			without = append(without, store.NodeHolder(id))
		}
	}
	for _, name := range sortedKeys(w.applications) {
		if lacksAddress(w.applications[name]) {
			without = append(without, store.ApplicationHolder(name))
		}
	}
	given := 0
	for len(without) > 0 {
		n := min(len(without), s.addressBatch())
		got, err := s.address(ctx, without[:n])
		if errors.Is(err, cluster.ErrConflict) { // nothing is served worse than before for want of an address
			s.log.Error("not everything has an address in the cluster network", "without", len(without), "error", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("give addresses to what has none: %w", err)
		}
		given, without = given+got, without[n:]
	}
	if given > 0 {
		s.log.Info("what had no address in the cluster network got one", "given", given)
	}
	return nil
}

// lacksAddress says whether an application is to get an address now. While a move is active its record changes for
// nobody; one that is being removed needs none.
func lacksAddress(a cluster.Application) bool { return a.Address == "" && a.Move == "" && !a.Deleted }

// address gives addresses to those of the holders that are there and still have none, until there are no more: then
// to as many as there were.
func (s *Service) address(ctx context.Context, holders []store.Holder) (int, error) {
	var given int
	var full error
	_, err := s.store.Update(ctx, func(tx *store.Tx) error {
		given, full = 0, nil
		free, err := store.NewAllocator(ctx, tx)
		if err != nil {
			return err
		}
		for _, h := range holders {
			got, err := addressOne(ctx, tx, free, h)
			switch {
			case errors.Is(err, cluster.ErrConflict):
				full = fmt.Errorf("%s: %w", h, err)
				return nil
			case err != nil:
				return fmt.Errorf("%s: %w", h, err)
			}
			if got {
				given++
			}
		}
		return nil
	})
	return given, errors.Join(err, full)
}

func addressOne(ctx context.Context, tx *store.Tx, free *store.Allocator, h store.Holder) (bool, error) {
	if id, ok := h.Node(); ok {
		key := store.Nodes.Under(string(id))
		n, err := store.Get(ctx, tx, key)
		if err != nil || n.ClusterAddress != "" {
			return false, ignoreNotFound(err)
		}
		if n.ClusterAddress, err = free.Take(ctx, h); err != nil {
			return false, err
		}
		return true, store.Put(tx, key, n)
	}
	name, _ := h.Application()
	key := store.Applications.Under(name)
	a, err := store.Get(ctx, tx, key)
	if err != nil || !lacksAddress(a) {
		return false, ignoreNotFound(err)
	}
	if a.Address, err = free.Take(ctx, h); err != nil {
		return false, err
	}
	return true, store.Put(tx, key, a)
}

// addressApplication gives an application of the draft its address, which it keeps.
func (d *draft) addressApplication(ctx context.Context, a *cluster.Application) (err error) {
	if a.Address != "" {
		return nil
	}
	if d.free == nil {
		if d.free, err = store.NewAllocator(ctx, d.tx); err != nil {
			return err
		}
	}
	a.Address, err = d.free.Take(ctx, store.ApplicationHolder(a.Name))
	return err
}
