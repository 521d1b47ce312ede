// SPDX-License-Identifier: Apache-2.0

package mem

import (
	"context"
	"maps"
	"net/netip"
	"slices"
)

// Pin notes where applications are fixed. Nobody speaks for them here but who is there.
func (n *Network) Pin(_ context.Context, places map[netip.Addr]netip.Addr) error {
	return n.change("Pin", slices.Collect(maps.Keys(places)), func() { n.pinned = maps.Clone(places) })
}

// Pinned is the truth about the places that are fixed.
func (n *Network) Pinned() map[netip.Addr]netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.pinned)
}
