// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

const (
	tableName = "flocker"
	portMap   = "published"
)

// chain is one of our base chains with its rules.
type chain struct {
	name     string
	kind     knftables.BaseChainType
	hook     knftables.BaseChainHook
	priority knftables.BaseChainPriority
	rules    []string
}

// chains are all of our rules: none of them names an application, so that publishing changes only the elements of one map.
func chains(bridge, subnet string) []chain {
	lead := "fib daddr type local dnat ip to meta l4proto . th dport map @" + portMap
	return []chain{{
		name: "guard", kind: knftables.FilterType, hook: knftables.PreroutingHook, priority: knftables.RawPriority,
		// What lets this node reach its own ports by 127.0.0.1 must not let containers reach what listens only there.
		rules: []string{fmt.Sprintf("iifname %q ip daddr 127.0.0.0/8 drop", bridge)},
	}, {
		name: "prerouting", kind: knftables.NATType, hook: knftables.PreroutingHook, priority: knftables.DNATPriority + "-5",
		rules: []string{lead},
	}, {
		name: "output", kind: knftables.NATType, hook: knftables.OutputHook, priority: "-105",
		rules: []string{lead},
	}, {
		name: "postrouting", kind: knftables.NATType, hook: knftables.PostroutingHook, priority: knftables.SNATPriority + "-5",
		rules: []string{
			fmt.Sprintf("oifname %q ip saddr 127.0.0.0/8 masquerade", bridge),
			// An answer within the bridge would not come back through this node. Where the kernel filters bridged packets it does not say
			// here where they came from, hence the subnet.
			fmt.Sprintf("oifname %q ip saddr %s ct status dnat masquerade", bridge, subnet),
		},
	}}
}

// nft is the table's interface; making one runs nft three times, so it is kept. The lock is held.
func (n *Network) nft() (knftables.Interface, error) {
	if n.rules == nil {
		rules, err := knftables.New(knftables.IPv4Family, tableName)
		if err != nil {
			return nil, fmt.Errorf("use nft (package nftables): %w", err)
		}
		n.rules = rules
	}
	return n.rules, nil
}

// ensureTable writes the whole table in one transaction, unless it is there as this version wants it; the map keeps its elements.
func (n *Network) ensureTable(ctx context.Context) error {
	nft, err := n.nft()
	if err != nil {
		return err
	}
	subnet, err := n.subnet()
	if err != nil {
		return err
	}
	wanted := chains(n.bridge, subnet)
	if tableStands(ctx, nft, wanted) {
		return nil
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Add(&knftables.Map{Name: portMap, Type: "inet_proto . inet_service : ipv4_addr . inet_service"})
	for _, c := range wanted {
		tx.Add(&knftables.Chain{Name: c.name, Type: &c.kind, Hook: &c.hook, Priority: &c.priority})
		tx.Flush(&knftables.Chain{Name: c.name})
		for _, rule := range c.rules {
			text := comment(rule)
			tx.Add(&knftables.Rule{Chain: c.name, Rule: rule, Comment: &text})
		}
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("make nftables table %s: %w", tableName, err)
	}
	n.log.Info("rules of published ports made", "table", tableName, "bridge", n.bridge)
	return nil
}

// tableStands compares rules by their comments, which hold the text they were made from. What cannot be listed does not stand.
func tableStands(ctx context.Context, nft knftables.Interface, wanted []chain) bool {
	found, err := nft.ListRules(ctx, "")
	if err != nil {
		return false
	}
	stand := map[string][]string{}
	for _, rule := range found {
		if rule.Comment == nil {
			return false
		}
		stand[rule.Chain] = append(stand[rule.Chain], *rule.Comment)
	}
	want := map[string][]string{}
	for _, c := range wanted {
		for _, rule := range c.rules {
			want[c.name] = append(want[c.name], comment(rule))
		}
	}
	return maps.EqualFunc(stand, want, slices.Equal)
}

func (n *Network) removeTable(ctx context.Context) error {
	nft, err := n.nft()
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("remove nftables table %s: %w", tableName, err)
	}
	return nil
}

// comment is a rule's text without what would end the comment.
func comment(rule string) string { return strings.ReplaceAll(rule, `"`, "") }
