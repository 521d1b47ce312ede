// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"sigs.k8s.io/knftables"

	"github.com/flocker-project/flocker/cluster"
)

// ensureShut makes the table by which an application is heard only where it lives, and the service address only on its own node.
func (n *Network) ensureShut(ctx context.Context, bridge netlink.Link, f Fabric) error {
	nft, err := kept(&n.shut, knftables.BridgeFamily, tableName)
	if err != nil {
		return err
	}
	return n.ensureTable(ctx, nft, append(holdChains(bridge, f), shutChains(bridge, f)...),
		append(confinedSets(), pinnedAddresses(), &knftables.Set{Name: liveSet, Type: "ether_addr"}, heldAddresses())...)
}

// shutChains know applications by the part of their hardware address that the subnet fixes: not every kernel can name the bridge here,
// and other bridges of the host must not be touched. They drop before the bridge learns, so a holder made ahead does not change where
// frames go.
func shutChains(bridge netlink.Link, f Fabric) []chain {
	mask := net.HardwareAddr(append([]byte{0xff, 0xff}, net.CIDRMask(f.Subnet.Bits(), 32)...))
	foreign := func(direction string) []string {
		return []string{
			confinedRule(direction),
			fmt.Sprintf("ether %s & %s == %s ether %s != @%s drop", direction, mask, cluster.MACOf(f.Subnet.Addr()), direction, liveSet),
		}
	}
	var local []string
	for _, field := range []string{"arp saddr ip", "arp daddr ip", "ip saddr", "ip daddr"} {
		local = append(local, fmt.Sprintf("%s %s drop", field, f.Service))
	}
	return []chain{
		{name: "from", rules: foreign("saddr")},
		{name: "to", rules: foreign("daddr")},
		{name: "service", rules: local},
		{name: "own", rules: standInRules(f)},
		{
			name: "prerouting", kind: knftables.FilterType, hook: knftables.PreroutingHook, priority: "-200",
			rules: []string{pinnedRule(), fmt.Sprintf("iifname %q jump service", tunnelName), fmt.Sprintf("iifname != %q jump from", tunnelName), "jump hold"},
		},
		{
			name: "postrouting", kind: knftables.FilterType, hook: knftables.PostroutingHook, priority: "-200",
			rules: append(answerRules(f),
				fmt.Sprintf("oifname %q ether saddr %s jump own", tunnelName, bridge.Attrs().HardwareAddr),
				fmt.Sprintf("oifname %q jump service", tunnelName), fmt.Sprintf("oifname != %q jump to", tunnelName)),
		},
	}
}
