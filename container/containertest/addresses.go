// SPDX-License-Identifier: Apache-2.0

package containertest

import (
	"net/netip"
	"sync"
)

// Addresses gives each application of a test one of its own; none is given again.
type Addresses struct {
	mu    sync.Mutex
	given map[string]netip.Addr
	next  netip.Addr
}

// NewAddresses begins behind an address.
func NewAddresses(after netip.Addr) *Addresses {
	return &Addresses{given: map[string]netip.Addr{}, next: after.Next()}
}

// Of is the application's address, the same every time.
func (a *Addresses) Of(application string) netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	if address, ok := a.given[application]; ok {
		return address
	}
	address := a.next
	a.given[application], a.next = address, address.Next()
	return address
}
