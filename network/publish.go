// SPDX-License-Identifier: Apache-2.0

package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

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
	if done, err := n.publishFrom(ctx, n.last, wanted); done {
		return errors.Join(err, n.tendPorts())
	}
	joined, err := findTunnel()
	if err != nil {
		return err
	}
	if err := n.ensureLeading(ctx, joined != nil); err != nil {
		return err
	}
	now, err := n.published(ctx)
	if err != nil {
		return err
	}
	if gone, fresh := differ(now, wanted); len(gone)+len(fresh) > 0 {
		err = n.replace(ctx, gone, fresh, wanted)
	}
	if err != nil {
		return err
	}
	n.last = append([]Publication{}, wanted...)
	return n.tendPorts()
}

// publishFrom saves the look at what is published, which would be in a move's gap: the transaction itself fails where the kernel's
// ports are not those that are remembered.
func (n *Network) publishFrom(ctx context.Context, last, wanted []Publication) (done bool, err error) {
	gone, fresh := differ(last, wanted)
	if last == nil || len(gone)+len(fresh) == 0 {
		return false, nil
	}
	err = n.replace(ctx, gone, fresh, wanted)
	return err == nil || !knftables.IsNotFound(err) && !knftables.IsAlreadyExists(err), err
}

// Published reads the published ports back from the kernel.
func (n *Network) Published(ctx context.Context) ([]Publication, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.published(ctx)
}

func (n *Network) published(ctx context.Context) ([]Publication, error) {
	nft, err := n.nft()
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

func (n *Network) replace(ctx context.Context, gone, fresh, wanted []Publication) error {
	nft, err := n.nft()
	if err != nil {
		return err
	}
	n.last = nil
	tx := nft.NewTransaction()
	for _, p := range gone {
		tx.Delete(p.element())
	}
	for _, p := range fresh {
		tx.Create(p.element())
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("publish ports: %w", err)
	}
	n.last = append([]Publication{}, wanted...) // never nil
	if err := forget(gone); err != nil {
		n.log.Warn("clients of ports that went away are not told, they wait", "error", err)
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

// Compare orders publications by the node's port.
func (p Publication) Compare(other Publication) int {
	return cmp.Or(cmp.Compare(p.Protocol, other.Protocol), cmp.Compare(p.External, other.External))
}

// Check says what is wrong with a publication.
func (p Publication) Check() error {
	if p.Protocol != "tcp" && p.Protocol != "udp" {
		return fmt.Errorf("publish port %d of application %s: protocol %q is neither tcp nor udp", p.External, p.Application, p.Protocol)
	}
	address, err := netip.ParseAddr(p.Address)
	if err != nil || !address.Is4() {
		return fmt.Errorf("publish port %d of application %s: %q is not an IPv4 address", p.External, p.Application, p.Address)
	}
	for _, port := range []int{p.External, p.Internal} {
		if port < 1 || port > 65535 {
			return fmt.Errorf("publish port of application %s: %d is not a port", p.Application, port)
		}
	}
	return nil
}

func (p Publication) element() *knftables.Element {
	return &knftables.Element{
		Map:     portMap,
		Key:     []string{p.Protocol, strconv.Itoa(p.External)},
		Value:   []string{p.Address, strconv.Itoa(p.Internal)},
		Comment: &p.Application,
	}
}

func publicationOf(e *knftables.Element) (Publication, error) {
	if len(e.Key) != 2 || len(e.Value) != 2 {
		return Publication{}, fmt.Errorf("published port %v to %v: want a protocol and a port to an address and a port", e.Key, e.Value)
	}
	external, err1 := strconv.Atoi(e.Key[1])
	internal, err2 := strconv.Atoi(e.Value[1])
	if err := errors.Join(err1, err2); err != nil {
		return Publication{}, fmt.Errorf("published port %v to %v: %w", e.Key, e.Value, err)
	}
	p := Publication{Protocol: e.Key[0], External: external, Address: e.Value[0], Internal: internal}
	if e.Comment != nil {
		p.Application = *e.Comment
	}
	return p, nil
}
