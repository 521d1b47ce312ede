// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/knftables"
)

// lives reads the sets, all by IPv4 addresses: who is heard, and in each family who is led to with the client's own address.
func (n *Network) lives(ctx context.Context) (sets [][]netip.Addr, err error) {
	shut, err1 := kept(&n.shut, knftables.BridgeFamily, tableName)
	stacks, err2 := n.stacks()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	heard, err := listAddresses(ctx, shut, liveSet, addressOf)
	if err != nil {
		return nil, err
	}
	sets = append(sets, heard)
	for _, s := range stacks {
		rules, err := n.nft(s)
		if err != nil {
			return nil, err
		}
		led, err := listAddresses(ctx, rules, liveSet, netip.ParseAddr)
		if err != nil {
			return nil, err
		}
		var own []netip.Addr
		for _, addr := range led {
			if four := ipv4Of(addr); s.of(four) == addr { // else it is of another subnet, and nobody's
				own = append(own, four)
			}
		}
		sets = append(sets, own)
	}
	return sets, nil
}

func listAddresses(ctx context.Context, nft knftables.Interface, set string, address func(key string) (netip.Addr, error)) ([]netip.Addr, error) {
	elements, err := nft.ListElements(ctx, "set", set)
	if knftables.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list applications that are heard: %w", err)
	}
	all := make([]netip.Addr, len(elements))
	for i, e := range elements {
		if all[i], err = address(e.Key[0]); err != nil {
			return nil, fmt.Errorf("list applications that are heard: %w", err)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
}

// common is what all have.
func common(sets [][]netip.Addr) []netip.Addr {
	var all []netip.Addr
	for i, set := range sets {
		if i == 0 {
			all = set
		}
		all = without(all, without(all, set))
	}
	return all
}

// union is what any has.
func union(sets [][]netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, set := range sets {
		all = append(all, without(set, all)...)
	}
	return all
}
