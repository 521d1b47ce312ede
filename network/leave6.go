// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/flocker-project/flocker/internal/run"
)

// leaveIPv6 takes away what leads by IPv6 where the fabric has none any more. The lock is held.
func (n *Network) leaveIPv6(ctx context.Context) error {
	if n.subnet6.IsValid() {
		return nil
	}
	stands, err := leadsIPv6(ctx)
	if err != nil || !stands {
		return err
	}
	gone := ipv6(netip.Prefix{})
	if err := errors.Join(n.removeForward(ctx, gone), n.removeHolds(gone)); err != nil {
		return err
	}
	return n.removeTables(ctx, gone.family)
}

// leading are the families in which this node leads, whatever this process knows: a kernel need not have ip6tables, or IPv6.
// The lock is held.
func (n *Network) leading(ctx context.Context) ([]stack, error) {
	stands, err := leadsIPv6(ctx)
	if stands || n.member && n.subnet6.IsValid() {
		return []stack{ipv4, ipv6(n.subnet6)}, err
	}
	return []stack{ipv4}, err
}

// leadsIPv6 says whether our table of IPv6 stands.
func leadsIPv6(ctx context.Context) (bool, error) {
	tables, err := run.Command(ctx, "nft", "list", "tables", "ip6").Output()
	if err != nil {
		return false, fmt.Errorf("list nftables tables (package nftables): %w", err)
	}
	for line := range strings.Lines(string(tables)) {
		if strings.TrimSpace(line) == "table ip6 "+tableName {
			return true, nil
		}
	}
	return false, nil
}
