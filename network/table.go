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
	liveSet   = "live" // of addresses for what is led, of hardware addresses for what is heard
)

// chain is one of our chains with its rules; without a hook it is one that others jump to.
type chain struct {
	name     string
	kind     knftables.BaseChainType
	hook     knftables.BaseChainHook
	priority knftables.BaseChainPriority
	rules    []string
}

// chains are all of our rules: none of them names an application, so that publishing changes only the elements of one map.
func chains(bridge, subnet string, joined bool) []chain {
	lead := "fib daddr type local dnat ip to meta l4proto . th dport map @" + portMap
	back := []string{
		fmt.Sprintf("oifname %q ip saddr 127.0.0.0/8 masquerade", bridge),
		// An answer within the bridge would not come back through this node. Where the kernel filters bridged packets it does not say
		// here where they came from, hence the subnet.
		fmt.Sprintf("oifname %q ip saddr %s ct status dnat masquerade", bridge, subnet),
	}
	guard := []string{fmt.Sprintf("iifname %q ip daddr 127.0.0.0/8 drop", bridge)}
	var going []chain
	if joined { // an application on another node answers by its own node, unless it is asked by this one's address
		back = append(back, fmt.Sprintf("oifname %q ct status dnat ip daddr != @%s masquerade", bridge, liveSet),
			// So may one be that waits, in the end.
			fmt.Sprintf("oifname %q ct status dnat ip daddr @%s masquerade", bridge, goingSet))
		// What this node sent away and gets back as a frame would look like another connection that is in the way of the first.
		guard = append(guard, fmt.Sprintf("iifname %q meta mark & %#x == %#x notrack", bridge, goingMark, goingMark))
		going = append(goingChains(), refuseChains()...)
	}
	return append([]chain{{
		name: "guard", kind: knftables.FilterType, hook: knftables.PreroutingHook, priority: knftables.RawPriority,
		// What lets this node reach its own ports by 127.0.0.1 must not let containers reach what listens only there.
		rules: guard,
	}, {
		name: "prerouting", kind: knftables.NATType, hook: knftables.PreroutingHook, priority: knftables.DNATPriority + "-5",
		rules: []string{lead},
	}, {
		name: "output", kind: knftables.NATType, hook: knftables.OutputHook, priority: "-105",
		rules: []string{lead},
	}, {
		name: "postrouting", kind: knftables.NATType, hook: knftables.PostroutingHook, priority: knftables.SNATPriority + "-5",
		rules: back,
	}}, going...)
}

// nft is the table's interface; making one runs nft three times, so it is kept. The lock is held.
func (n *Network) nft() (knftables.Interface, error) {
	return kept(&n.rules, knftables.IPv4Family, tableName)
}

func kept(rules *knftables.Interface, family knftables.Family, table string) (knftables.Interface, error) {
	if *rules == nil {
		made, err := knftables.New(family, table)
		if err != nil {
			return nil, fmt.Errorf("use nft (package nftables): %w", err)
		}
		*rules = made
	}
	return *rules, nil
}

// ensureLeading makes the table that leads published ports to applications.
func (n *Network) ensureLeading(ctx context.Context, joined bool) error {
	nft, err := n.nft()
	if err != nil {
		return err
	}
	subnet, err := n.subnet()
	if err != nil {
		return err
	}
	_, going := heldSets()
	return n.ensureTable(ctx, nft, chains(n.bridge, subnet, joined),
		&knftables.Map{Name: portMap, Type: "inet_proto . inet_service : ipv4_addr . inet_service"},
		&knftables.Set{Name: liveSet, Type: "ipv4_addr"}, going, refusedElements())
}

// ensureTable writes the whole table in one transaction, unless it is there as this version wants it; sets and maps keep their elements.
func (n *Network) ensureTable(ctx context.Context, nft knftables.Interface, wanted []chain, sets ...knftables.Object) error {
	if tableStands(ctx, nft, wanted) {
		return nil
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{})
	for _, set := range sets {
		tx.Add(set)
	}
	for _, c := range wanted {
		made := &knftables.Chain{Name: c.name}
		if c.hook != "" {
			made.Type, made.Hook, made.Priority = &c.kind, &c.hook, &c.priority
		}
		tx.Add(made)
		tx.Flush(&knftables.Chain{Name: c.name})
	}
	for _, c := range wanted {
		for _, rule := range c.rules {
			text := comment(rule)
			tx.Add(&knftables.Rule{Chain: c.name, Rule: rule, Comment: &text})
		}
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("make nftables table %s: %w", tableName, err)
	}
	n.log.Info("rules made", "table", tableName, "bridge", n.bridge)
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

// removeTables takes both tables away in one transaction.
func (n *Network) removeTables(ctx context.Context) error {
	nft, err := kept(&n.both, "", "")
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	for _, family := range []knftables.Family{knftables.IPv4Family, knftables.BridgeFamily} {
		tx.Add(&knftables.Table{Family: family, Name: tableName})
		tx.Delete(&knftables.Table{Family: family, Name: tableName})
	}
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("remove nftables tables %s: %w", tableName, err)
	}
	return nil
}

// comment is a rule's text without what would end the comment.
func comment(rule string) string { return strings.ReplaceAll(rule, `"`, "") }
