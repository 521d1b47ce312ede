// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/flocker-project/flocker/network"
)

// terms are who is confined, until when who is allowed, and until when an answer counts.
type terms struct {
	confined map[netip.Addr]bool
	allowed  map[netip.Addr]time.Time
	asked    time.Time
}

// heard says whether it may be heard as far as that goes.
func (c terms) heard(addr netip.Addr) bool {
	return !c.confined[addr] || time.Now().Before(c.allowed[addr])
}

// Confine makes exactly these applications ones that are heard only while allowed.
func (n *Network) Confine(_ context.Context, addrs []netip.Addr) error {
	return n.change("Confine", addrs, func() {
		n.terms.confined = map[netip.Addr]bool{}
		for _, addr := range addrs {
			n.terms.confined[addr] = true
		}
	})
}

// Confined returns the applications that are heard only while allowed.
func (n *Network) Confined(context.Context) ([]netip.Addr, error) {
	return n.list("Confined", func() map[netip.Addr]bool { return n.terms.confined })
}

// Ask begins a question whose answer counts for limit.
func (n *Network) Ask(_ context.Context, limit time.Duration) error {
	if limit < time.Millisecond {
		return fmt.Errorf("ask whom to allow: limit %v is too short", limit)
	}
	return n.change("Ask", nil, func() { n.terms.asked = time.Now().Add(limit) })
}

// Allow answers the question: exactly these may be heard for limit.
func (n *Network) Allow(_ context.Context, addrs []netip.Addr, limit time.Duration) error {
	if limit < time.Millisecond {
		return fmt.Errorf("allow %v: limit %v is too short", addrs, limit)
	}
	late := false
	err := n.change("Allow", addrs, func() {
		now := time.Now()
		if late = !now.Before(n.terms.asked); late {
			return
		}
		n.terms.asked, n.terms.allowed = time.Time{}, map[netip.Addr]time.Time{}
		for _, addr := range addrs {
			n.terms.allowed[addr] = now.Add(limit)
		}
	})
	if err == nil && late {
		err = fmt.Errorf("allow %v: %w", addrs, network.ErrLate)
	}
	return err
}
