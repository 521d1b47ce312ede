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

// Publish makes the published ports of this node exactly these, in one transaction of what differs. Connections through a port
// that is no longer led to the same place are forgotten, so that their clients are told instead of waiting.
func (n *Network) Publish(ctx context.Context, wanted []Publication) error {
	for _, p := range wanted {
		if err := p.Check(); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	stacks, err := n.stacks()
	if err != nil {
		return err
	}
	if done, err := n.publishFrom(ctx, stacks, wanted); done {
		return errors.Join(err, n.tendPorts())
	}
	joined, err := findTunnel()
	if err != nil {
		return err
	}
	if err := n.ensureLeading(ctx, joined != nil); err != nil {
		return err
	}
	var changes []portChange
	for _, s := range stacks {
		now, err := n.published(ctx, s)
		if err != nil {
			return err
		}
		gone, fresh := differ(now, s.publications(wanted))
		changes = append(changes, portChange{s, gone, fresh})
	}
	if err := n.replace(ctx, changes); err != nil {
		return err
	}
	n.last = append([]Publication{}, wanted...) // never nil
	return n.tendPorts()
}

// portChange is what goes from one family's map, and what comes, with the addresses of that family.
type portChange struct {
	stack
	gone, fresh []Publication
}

// publications are the same ones, to the addresses of this family.
func (s stack) publications(all []Publication) []Publication {
	own := slices.Clone(all)
	for i, p := range all {
		own[i].Address = s.of(netip.MustParseAddr(p.Address)).String() // checked before
	}
	return own
}

// publishFrom saves the look at what is published, which would be in a move's gap: the transaction itself fails where the kernel's
// ports are not those that are remembered.
func (n *Network) publishFrom(ctx context.Context, stacks []stack, wanted []Publication) (done bool, err error) {
	gone, fresh := differ(n.last, wanted)
	if n.last == nil || len(gone)+len(fresh) == 0 {
		return false, nil
	}
	var changes []portChange
	for _, s := range stacks {
		changes = append(changes, portChange{s, s.publications(gone), s.publications(fresh)})
	}
	n.last = nil
	err = n.replace(ctx, changes)
	if err == nil {
		n.last = append([]Publication{}, wanted...)
	}
	return err == nil || !knftables.IsNotFound(err) && !knftables.IsAlreadyExists(err), err
}

// Published reads the published ports back from the kernel: those that are led in every family.
func (n *Network) Published(ctx context.Context) ([]Publication, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	stacks, err := n.stacks()
	if err != nil {
		return nil, err
	}
	all, err := n.published(ctx, ipv4)
	if err != nil {
		return nil, err
	}
	for _, s := range stacks[1:] {
		also, err := n.published(ctx, s)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(p Publication) bool { return !slices.Contains(also, s.publications([]Publication{p})[0]) })
	}
	return all, nil
}

// published are those in one family's map, with the addresses of that family.
func (n *Network) published(ctx context.Context, s stack) ([]Publication, error) {
	nft, err := n.nft(s)
	if err != nil {
		return nil, err
	}
	elements, err := nft.ListElements(ctx, "map", portMap)
	if knftables.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list published ports: %w", err)
	}
	all := make([]Publication, len(elements))
	for i, e := range elements {
		if all[i], err = publicationOf(e); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, Publication.Compare)
	return all, nil
}

// replace makes all changes or none.
func (n *Network) replace(ctx context.Context, changes []portChange) error {
	nft, err := kept(&n.any, "", "")
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	for _, c := range changes {
		for _, p := range c.gone {
			tx.Delete(p.element(c.stack))
		}
		for _, p := range c.fresh {
			tx.Create(p.element(c.stack))
		}
	}
	if tx.NumOperations() == 0 {
		return nil
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("publish ports: %w", err)
	}
	for _, c := range changes {
		if err := forget(c.stack, c.gone); err != nil {
			n.log.Warn("clients of ports that went away are not told, they wait", "error", err)
		}
	}
	return nil
}

// differ says what to take away and what to add.
func differ[T comparable](now, wanted []T) (gone, fresh []T) {
	return without(now, wanted), without(wanted, now)
}

func without[T comparable](all, some []T) (rest []T) {
	known := make(map[T]bool, len(some))
	for _, one := range some {
		known[one] = true
	}
	for _, one := range all {
		if !known[one] {
			rest = append(rest, one)
		}
	}
	return rest
}
