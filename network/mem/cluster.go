// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/flocker-project/flocker/network"
)

// ErrNotJoined is what a node that is no member gets where the real one finds no set in its kernel.
var ErrNotJoined = errors.New("this node has not joined the cluster network")

// Join makes the node a member.
func (n *Network) Join(_ context.Context, f network.Fabric) error {
	if err := errors.Join(n.fault("Join"), f.Check()); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f.Peers = slices.Clone(f.Peers)
	n.fabric = f
	return nil
}

// Leave ends it.
func (n *Network) Leave(ctx context.Context) error {
	if err := n.fault("Leave"); err != nil {
		return err
	}
	return n.Remove(ctx)
}

// leave forgets what a member knows. The lock is held.
func (n *Network) leave() {
	n.fabric, n.live, n.held, n.terms = network.Fabric{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}, terms{}
	n.pinned = nil
}

// Live makes the applications that are heard from this node exactly these.
func (n *Network) Live(_ context.Context, addrs []netip.Addr) error {
	return n.change("Live", addrs, func() {
		n.live = map[netip.Addr]bool{}
		for _, addr := range addrs {
			n.live[addr] = true
		}
	})
}

// Enliven lets an application be heard from this node, and what waited for it go on.
func (n *Network) Enliven(_ context.Context, addr netip.Addr) error {
	return n.change("Enliven", []netip.Addr{addr}, func() {
		n.live[addr] = true
		delete(n.held, addr)
	})
}

// Deaden keeps an application from being heard from this node.
func (n *Network) Deaden(_ context.Context, addr netip.Addr) error {
	return n.change("Deaden", []netip.Addr{addr}, func() { delete(n.live, addr) })
}

// Hold notes that connections to the address wait. There is no clock here: the limit does not pass.
func (n *Network) Hold(_ context.Context, addr netip.Addr, _ time.Duration) error {
	return n.change("Hold", []netip.Addr{addr}, func() { n.held[addr] = true })
}

// Holds returns the addresses to which connections wait.
func (n *Network) Holds(context.Context) ([]netip.Addr, error) {
	return n.list("Holds", func() map[netip.Addr]bool { return n.held })
}

// Keep does it: there are no connections here that could be lost.
func (n *Network) Keep(_ context.Context, _ netip.Addr, do func() error) error { return do() }

// Refuse has nobody to refuse.
func (n *Network) Refuse(_ context.Context, addrs []netip.Addr, _ time.Duration) error {
	return n.change("Refuse", addrs, func() {})
}

// Silent returns nobody: every address answers.
func (n *Network) Silent(context.Context, []netip.Addr, time.Duration) ([]netip.Addr, error) {
	return nil, n.fault("Silent")
}

func (n *Network) change(method string, addrs []netip.Addr, do func()) error {
	if err := n.fault(method); err != nil {
		return err
	}
	for _, addr := range addrs {
		if !addr.Is4() {
			return fmt.Errorf("change who is heard: %q is not an IPv4 address", addr)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fabric.Key == 0 && len(addrs) > 0 {
		return fmt.Errorf("change who is heard, %v: %w", addrs, ErrNotJoined)
	}
	do()
	return nil
}

// Lives returns the applications that are heard from this node.
func (n *Network) Lives(context.Context) ([]netip.Addr, error) {
	return n.list("Lives", func() map[netip.Addr]bool { return n.live })
}

func (n *Network) list(method string, set func() map[netip.Addr]bool) ([]netip.Addr, error) {
	if err := n.fault(method); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(maps.Keys(set()), netip.Addr.Compare), nil
}

// Heard is the truth about an application in a namespace of this node: it is heard where its address is live, its gate is open, and it is
// allowed if it is confined.
func (n *Network) Heard(addr netip.Addr, namespace string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.live[addr] && !n.closed[namespace] && n.terms.heard(addr)
}

// MayBeHeard is the truth about a confinement: that it does not keep the application from being heard now.
func (n *Network) MayBeHeard(addr netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.terms.heard(addr)
}

// Held is the truth about a hold.
func (n *Network) Held(addr netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held[addr]
}

// Hears says whether what this node sends into the cluster network comes to the other: itself, or a peer of the same network.
func (n *Network) Hears(other *Network) bool {
	if n == other {
		return true
	}
	mine, theirs := n.member(), other.member()
	return mine.Key != 0 && mine.Key == theirs.Key && mine.Subnet == theirs.Subnet &&
		slices.Contains(mine.Peers, theirs.Underlay) && slices.Contains(theirs.Peers, mine.Underlay)
}

func (n *Network) member() network.Fabric {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fabric
}
