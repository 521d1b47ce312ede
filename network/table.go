// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
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

// chains are all of our rules for one family: none of them names an application, so that publishing changes only the elements of one map.
func (s stack) chains(bridge, subnet string, joined bool) []chain {
	lead := fmt.Sprintf("fib daddr type local%s dnat %s to meta l4proto . th dport map @%s", s.unled(), s.family, portMap)
	var back, guard []string
	if s.kernel == unix.AF_INET {
		back = append(back, fmt.Sprintf("oifname %q ip saddr 127.0.0.0/8 masquerade", bridge))
		// What lets this node reach its own ports by 127.0.0.1 must not let containers reach what listens only there.
		guard = append(guard, fmt.Sprintf("iifname %q ip daddr 127.0.0.0/8 drop", bridge))
	}
	// An answer within the bridge would not come back through this node. Where the kernel filters bridged packets it does not say
	// here where they came from, hence the subnet.
	back = append(back, fmt.Sprintf("oifname %q %s saddr %s ct status dnat masquerade", bridge, s.family, subnet))
	var going []chain
	if joined { // an application on another node answers by its own node, unless it is asked by this one's address
		back = append(back, fmt.Sprintf("oifname %q ct status dnat %s daddr != @%s masquerade", bridge, s.family, liveSet),
			// So may one be that waits, in the end.
			fmt.Sprintf("oifname %q ct status dnat %s daddr @%s masquerade", bridge, s.family, goingSet))
		// What this node sent away and gets back as a frame would look like another connection that is in the way of the first.
		guard = append(guard, fmt.Sprintf("iifname %q meta mark & %#x == %#x notrack", bridge, goingMark, goingMark))
		going = slices.Concat(s.goingChains(), s.forwardChains(bridge), s.keptChains(bridge))
	}
	return append([]chain{{
		name: "guard", kind: knftables.FilterType, hook: knftables.PreroutingHook, priority: knftables.RawPriority,
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

// unled are the addresses of this node whose packets cannot be led to the bridge: no kernel routes those of its IPv6 loopback, or from
// one link to another those of a link.
func (s stack) unled() string {
	if s.kernel == unix.AF_INET {
		return ""
	}
	return " ip6 daddr != { ::1, fe80::/10 }"
}

// nft is the interface of a family's table; making one runs nft three times, so it is kept. The lock is held.
func (n *Network) nft(s stack) (knftables.Interface, error) {
	rules := n.rules[s.family]
	made, err := kept(&rules, s.family, tableName)
	if err == nil {
		n.rules[s.family] = made
	}
	return made, err
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

// ensureLeading makes the tables that lead published ports to applications.
func (n *Network) ensureLeading(ctx context.Context, joined bool) error {
	stacks, err := n.stacks()
	if err != nil {
		return err
	}
	for _, s := range stacks {
		subnet, err := n.subnet(s)
		if err != nil {
			return err
		}
		nft, err := n.nft(s)
		if err != nil {
			return err
		}
		err = n.ensureTable(ctx, nft, s.chains(n.bridge, subnet, joined),
			&knftables.Map{Name: portMap, Type: fmt.Sprintf("inet_proto . inet_service : %s . inet_service", s.key)},
			&knftables.Set{Name: liveSet, Type: s.key}, s.going(), s.refused(), s.kept())
		if err != nil {
			return err
		}
	}
	return nil
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

// removeTables takes our tables of these families away in one transaction.
func (n *Network) removeTables(ctx context.Context, families ...knftables.Family) error {
	nft, err := kept(&n.any, "", "")
	if err != nil {
		return err
	}
	tx := nft.NewTransaction()
	for _, family := range families {
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
