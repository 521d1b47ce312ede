// SPDX-License-Identifier: Apache-2.0

package network

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"sigs.k8s.io/knftables"
)

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

func (p Publication) element(s stack) *knftables.Element {
	return &knftables.Element{
		Family:  s.family,
		Table:   tableName,
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
