// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/flocker-project/flocker/cluster"
)

// Holder is what an address is held by: "node/<id>" or "application/<name>".
type Holder string

// NodeHolder holds a node's own address.
func NodeHolder(id cluster.NodeID) Holder { return Holder("node/" + string(id)) }

// ApplicationHolder holds an application's address.
func ApplicationHolder(name string) Holder { return Holder("application/" + name) }

// Node is the node that holds it, if one does.
func (h Holder) Node() (cluster.NodeID, bool) {
	id, ok := strings.CutPrefix(string(h), string(NodeHolder("")))
	return cluster.NodeID(id), ok
}

// Application is the application that holds it, if one does.
func (h Holder) Application() (string, bool) {
	return strings.CutPrefix(string(h), string(ApplicationHolder("")))
}

// spread bounds how far apart those who met over one address look for the next.
const spread = 8

// Allocator gives addresses of the cluster network within one transaction.
//
// The next free one after a stored cursor is taken, so that an address that was freed rests as long as there are
// others: what neighbours and clients remember of its last holder is then long out of date. Looking for it reads the
// holders of one /24 block, since their keys share a prefix, and the next block only where that one is full; what is
// held elsewhere costs nothing, however much it is. What was only looked at is not compared. The one comparison is that
// nobody holds the address that is taken, which is what keeps two transactions from giving the same.
type Allocator struct {
	tx     *Tx
	subnet netip.Prefix
	cursor netip.Addr
	held   map[netip.Addr]map[string]bool // by block: what is held there, by this transaction too
	given  []Holder                       // by this transaction
}

// NewAllocator reads the cluster network and where the last address was given.
func NewAllocator(ctx context.Context, tx *Tx) (*Allocator, error) {
	f, err := Get(ctx, tx, FabricKey)
	if errors.Is(err, cluster.ErrNotFound) {
		return nil, fmt.Errorf("the cluster network has no subnet yet; start the control service of this version: %w", cluster.ErrPrecondition)
	}
	if err != nil {
		return nil, err
	}
	subnet, err := cluster.ParseSubnet(f.Subnet)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", string(FabricKey), err)
	}
	a := &Allocator{tx: tx, subnet: subnet, held: map[netip.Addr]map[string]bool{}}
	last, err := peek(ctx, tx, cursorKey)
	if err != nil {
		return nil, err
	}
	if a.cursor, err = netip.ParseAddr(last); err != nil || !a.usable(a.cursor) {
		a.cursor = subnet.Addr().Next() // the service address: the first free one is after it
	}
	return a, nil
}

// Take gives a free address to a holder. cluster.ErrConflict says that others hold all.
func (a *Allocator) Take(ctx context.Context, h Holder) (string, error) {
	skip := 0
	if a.tx.attempt > 0 { // somebody else was faster; they would all meet at the next one again
		skip = rand.N(spread * a.tx.attempt)
	}
	addr, err := a.next(ctx, skip)
	if err != nil {
		return "", err
	}
	key := Addresses.Under(addr.String())
	a.tx.reads[a.tx.store.prefix+string(key)] = 0 // it is there for nobody else to take
	if err := errors.Join(Put(a.tx, key, h), Put(a.tx, cursorKey, addr.String())); err != nil {
		return "", err
	}
	a.held[blockOf(addr)][addr.String()] = true
	a.cursor, a.given = addr, append(a.given, h)
	return addr.String(), nil
}

// next walks once around the subnet, from behind the cursor, past as many free addresses as told, if there are.
func (a *Allocator) next(ctx context.Context, skip int) (netip.Addr, error) {
	var free netip.Addr
	first := a.after(a.cursor)
	for addr := first; ; {
		held, err := a.block(ctx, addr)
		if err != nil {
			return netip.Addr{}, err
		}
		if !held[addr.String()] {
			if free = addr; skip == 0 {
				return free, nil
			}
			skip--
		}
		if addr = a.after(addr); addr == first {
			break
		}
	}
	if free.IsValid() {
		return free, nil
	}
	return free, a.full(ctx)
}

// after is the address that follows; the last is followed by the first.
func (a *Allocator) after(addr netip.Addr) netip.Addr {
	if next := addr.Next(); a.usable(next) {
		return next
	}
	return a.subnet.Addr().Next().Next()
}

// usable leaves out the network's own address, the service address and the broadcast address.
func (a *Allocator) usable(addr netip.Addr) bool {
	network := a.subnet.Addr()
	return a.subnet.Contains(addr) && addr != network && addr != network.Next() && addr != cluster.LastAddress(a.subnet)
}

func blockOf(addr netip.Addr) netip.Addr {
	b := addr.As4()
	return netip.AddrFrom4([4]byte{b[0], b[1], b[2], 0})
}

// block is what is held in the /24 of an address.
func (a *Allocator) block(ctx context.Context, addr netip.Addr) (map[string]bool, error) {
	block := blockOf(addr)
	if held, read := a.held[block]; read {
		return held, nil
	}
	prefix := string(Addresses) + strings.TrimSuffix(block.String(), "0")
	names, err := a.names(ctx, prefix)
	if err != nil {
		return nil, err
	}
	a.held[block] = names
	return names, nil
}

// names reads the keys under a prefix, without comparing them later.
func (a *Allocator) names(ctx context.Context, prefix string) (map[string]bool, error) {
	resp, err := a.tx.read(ctx, a.tx.store.prefix+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, kv := range resp.Kvs {
		names[string(kv.Key)[len(a.tx.store.prefix)+len(Addresses):]] = true
	}
	return names, nil
}

// full says who holds everything.
func (a *Allocator) full(ctx context.Context) error {
	held, err := holders(ctx, a.tx)
	if err != nil {
		return err
	}
	nodes, applications := 0, 0
	for _, h := range append(held, a.given...) {
		if _, ok := h.Node(); ok {
			nodes++
		} else {
			applications++
		}
	}
	return fmt.Errorf("subnet %s has no free address: %d nodes and %d applications hold all; "+
		"remove applications, or forget nodes that are gone (the subnet is fixed when the cluster is made): %w",
		a.subnet, nodes, applications, cluster.ErrConflict)
}

// holders reads who holds something, without comparing it later: what it says is true of the transaction's revision.
func holders(ctx context.Context, tx *Tx) ([]Holder, error) {
	resp, err := tx.read(ctx, tx.store.prefix+string(Addresses), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	var all []Holder
	for _, kv := range resp.Kvs {
		h, err := decode[Holder](string(kv.Key), kv.Value, kv.ModRevision)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// Release frees an address. One that another holds, or nobody, stays as it is: there is nothing of this holder to free.
func Release(ctx context.Context, tx *Tx, addr string, h Holder) error {
	if addr == "" {
		return nil
	}
	key := Addresses.Under(addr)
	holds, err := Get(ctx, tx, key)
	if errors.Is(err, cluster.ErrNotFound) {
		return nil
	}
	if err == nil && holds == h {
		Delete(tx, key)
	}
	return err
}

// peek reads a hint: the empty string when it is not there, and not compared later.
func peek(ctx context.Context, tx *Tx, k Key[string]) (string, error) {
	resp, err := tx.read(ctx, tx.store.prefix+string(k))
	if err != nil || len(resp.Kvs) == 0 {
		return "", err
	}
	return decode[string](string(k), resp.Kvs[0].Value, resp.Kvs[0].ModRevision)
}
