// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/network"
)

// foreign are rules of others on a node.
func (m *machine) foreign() error {
	return commands(
		"nft add table inet theirs",
		"nft add chain inet theirs input { type filter hook input priority 0 ; }",
		"nft add rule inet theirs input tcp dport 9999 counter drop",
		"nft add table bridge theirs",
		"nft add chain bridge theirs forward { type filter hook forward priority 0 ; }",
		"iptables -A INPUT -p tcp --dport 9998 -j DROP",
		"iptables -I DOCKER-USER -s 192.0.2.1 -j DROP",
	)
}

// kernelState is what a node's kernel says of its rules, devices, addresses, routes and settings.
func (m *machine) kernelState(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, line := range []string{
		"nft --stateless --handle list ruleset", "ip -details link show", "ip addr show", "ip route show table all", "ip rule show",
		"ip -6 route show table all", "ip -6 rule show", "bridge fdb show dev flocker-vx",
	} {
		if strings.HasPrefix(line, "bridge") && !strings.Contains(state["ip addr show"], "flocker-vx") {
			continue
		}
		state[line] = withoutTimes(output(t, m.ns, line))
		if strings.HasPrefix(line, "bridge") {
			state[line] = m.peers(t) // what is learned changes by itself
		}
	}
	for _, name := range []string{
		"ipv4/conf/flocker0/route_localnet", "ipv4/neigh/flocker0/retrans_time_ms", "ipv4/neigh/flocker0/mcast_solicit",
		"ipv4/neigh/flocker0/unres_qlen_bytes", "ipv6/neigh/flocker0/retrans_time_ms", "ipv6/neigh/flocker0/mcast_solicit",
		"ipv6/neigh/flocker0/unres_qlen_bytes", "ipv6/conf/all/forwarding", "ipv6/conf/eth0/accept_ra",
	} {
		must(t, within(t, m.ns, func() error {
			value, err := os.ReadFile("/proc/sys/net/" + name)
			state[name] = string(value)
			return err
		}))
	}
	return state
}

// peers are those to whom the node floods.
func (m *machine) peers(t *testing.T) string {
	t.Helper()
	var kept []string
	for line := range strings.Lines(output(t, m.ns, "bridge fdb show dev flocker-vx")) {
		if strings.HasPrefix(line, "00:00:00:00:00:00 ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// withoutTimes drops what a clock changes, and what a bridge does by itself.
func withoutTimes(text string) string {
	var kept []string
	for field := range strings.FieldsSeq(text) {
		if !strings.Contains(field, ".") || strings.Count(field, ".") > 1 {
			kept = append(kept, field)
		}
	}
	return strings.Join(kept, " ")
}

func sameState(t *testing.T, before, after map[string]string) {
	t.Helper()
	for what, was := range before {
		if after[what] != was {
			t.Errorf("%s before:\n%s\nafter:\n%s", what, was, after[what])
		}
	}
}

func TestJoinAgainChangesNothing(t *testing.T) {
	c := newCluster(t, 2)
	m := c.nodes[0]
	occupy(t, m.holder(t, application(1)))
	m.live(t, application(1))
	m.publish(t, publication(application(1), 7001))
	before := m.kernelState(t)
	must(t, m.join(t))
	again := network.NewOn(clusterBridge, slog.New(slog.DiscardHandler)) // a new agent
	must(t, within(t, m.ns, func() error {
		return errors.Join(again.Ensure(t.Context()), again.Join(t.Context(), m.fabric), again.Live(t.Context(), []netip.Addr{application(1)}),
			again.Publish(t.Context(), []network.Publication{publication(application(1), 7001)}))
	}))
	sameState(t, before, m.kernelState(t))
}

func TestLeaveLeavesEverythingAsItWas(t *testing.T) {
	c := newMachines(t, 2)
	for _, m := range c.nodes {
		must(t, within(t, m.ns, m.foreign))
	}
	m := c.nodes[0]
	occupy(t, m.holder(t, application(1)))
	// Docker fixes its bridge's hardware address; a bridge that does not would keep it fixed.
	must(t, within(t, m.ns, func() error {
		return commands("ip link set "+clusterBridge+" address 02:42:00:00:00:01", "ip link set c1 alias theirs")
	}))
	before := m.kernelState(t)
	for range 2 {
		must(t, m.join(t))
		m.live(t, application(1), application(2))
		m.publish(t, publication(application(1), 7001))
		if rules := output(t, m.ns, "nft list ruleset"); !strings.Contains(rules, "theirs") || !strings.Contains(rules, "192.0.2.1") {
			t.Error("rules of others are gone")
		}
		must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Leave(ctx) }))
		sameState(t, before, m.kernelState(t))
	}
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Leave(ctx) }))
}

// What others have made stays byte-identical while this node is a member.
func TestMemberKeepsRulesOfOthers(t *testing.T) {
	c := newMachines(t, 1)
	m := c.nodes[0]
	must(t, within(t, m.ns, m.foreign))
	theirs := func() string {
		var kept []string
		for line := range strings.Lines(output(t, m.ns, "iptables-save")) {
			if !strings.Contains(line, "--comment flocker ") && !strings.HasPrefix(line, "#") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "") + output(t, m.ns, "nft list table inet theirs") + output(t, m.ns, "nft list table bridge theirs")
	}
	before := theirs()
	must(t, m.join(t))
	m.live(t, application(1))
	m.publish(t, publication(application(1), 7001))
	if after := theirs(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestPeersComeAndGo(t *testing.T) {
	c := newCluster(t, 3)
	for i, m := range c.nodes {
		whoAsks(t, m.holder(t, application(i)), 7000)
		m.enliven(t, application(i))
	}
	m := c.nodes[0]
	must(t, within(t, m.ns, func() error {
		return commands("bridge fdb append 00:00:00:00:00:00 dev flocker-vx dst 10.9.0.9 self permanent")
	}))
	m.fabric.Peers = m.fabric.Peers[:1]
	must(t, m.join(t))
	all := m.peers(t)
	for peer, want := range map[string]bool{"10.9.0.2": true, "10.9.0.3": false, "10.9.0.9": false} {
		if strings.Contains(all, peer) != want {
			t.Errorf("%s among the peers: %v; want %v in:\n%s", peer, !want, want, all)
		}
	}
	m.fabric.Peers = append(m.fabric.Peers, netip.MustParseAddr("10.9.0.3"), m.fabric.Underlay)
	must(t, m.join(t))
	for i := range c.nodes {
		if _, err := ask(short(t), t, m.ns, application(i).String()+":7000"); err != nil {
			t.Errorf("application of node %d: %v", i+1, err)
		}
	}
}

func TestJoinFollowsAnotherFabric(t *testing.T) {
	for name, change := range map[string]func(*network.Fabric){
		"key":  func(f *network.Fabric) { f.Key = 78 },
		"port": func(f *network.Fabric) { f.Port = 4800 },
		"all": func(f *network.Fabric) {
			f.Key, f.Port, f.Service = 79, 4801, netip.MustParseAddr("10.144.0.200")
		},
		"service": func(f *network.Fabric) { f.Service = netip.MustParseAddr("10.144.0.200") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2)
			for i, m := range c.nodes {
				m.live(t, application(i))
				change(&m.fabric)
				must(t, m.join(t))
			}
			device := output(t, c.nodes[0].ns, "ip -details link show flocker-vx")
			if want := fmt.Sprintf("vxlan id %d ", c.nodes[0].fabric.Key); !strings.Contains(device, want) {
				t.Errorf("the device is %s; want %s", device, want)
			}
			if want := fmt.Sprintf("dstport %d ", c.nodes[0].fabric.Port); !strings.Contains(device, want) {
				t.Errorf("the device is %s; want %s", device, want)
			}
			whoAsks(t, c.nodes[1].holder(t, application(1)), 7000)
			if _, err := ask(short(t), t, c.nodes[0].holder(t, application(0)), application(1).String()+":7000"); err != nil {
				t.Error(err)
			}
			addresses := output(t, c.nodes[0].ns, "ip addr show")
			if name != "key" && name != "port" && (strings.Contains(addresses, service.String()+"/32") || !strings.Contains(addresses, "10.144.0.200/32")) {
				t.Errorf("the service address is not the new one:\n%s", addresses)
			}
		})
	}
}

// The service address may come first among the bridge's.
func TestServiceAddressIsNotTakenForTheBridgesOwn(t *testing.T) {
	m := newCluster(t, 1).nodes[0]
	own := m.fabric.Address.String() + "/16 dev " + clusterBridge
	must(t, within(t, m.ns, func() error { return commands("ip addr del "+own, "ip addr add "+own) }))
	must(t, m.join(t))
	if rules := output(t, m.ns, "nft list table ip flocker"); !strings.Contains(rules, clusterSubnet.String()) {
		t.Errorf("no rule for %s in:\n%s", clusterSubnet, rules)
	}
}

func TestJoinRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		make  string // on the node
		spoil func(*network.Fabric)
		says  []string
	}{
		"an address of another device": {
			make: "ip addr add 10.144.7.1/24 dev eth0", says: []string{"10.144.0.0/16", "eth0", "10.144.7.1"},
		},
		"a route of another device": {make: "ip route add 10.144.7.0/24 via 10.9.0.100", says: []string{"10.144.0.0/16", "eth0", "10.144.7.0/24"}},
		"a bridge of another address": {
			make: "ip addr replace 10.144.0.77/16 dev " + clusterBridge,
			spoil: func(f *network.Fabric) {
				f.Address = netip.MustParseAddr("10.144.0.78")
			},
			says: []string{clusterBridge, "10.144.0.78", "remove Docker's network"},
		},
		"an underlay that is not here": {
			spoil: func(f *network.Fabric) { f.Underlay = netip.MustParseAddr("10.9.0.50") }, says: []string{"10.9.0.50", "set the node's address"},
		},
		"a service address outside": {
			spoil: func(f *network.Fabric) { f.Service = netip.MustParseAddr("10.145.0.1") }, says: []string{"10.145.0.1", "outside"},
		},
		"no key":               {spoil: func(f *network.Fabric) { f.Key = 0 }, says: []string{"key 0"}},
		"a key of 25 bits":     {spoil: func(f *network.Fabric) { f.Key = 1 << 24 }, says: []string{"key 16777216"}},
		"a peer in the fabric": {spoil: func(f *network.Fabric) { f.Peers = []netip.Addr{application(9)} }, says: []string{application(9).String()}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachines(t, 1).nodes[0]
			if c.make != "" {
				must(t, within(t, m.ns, func() error { return commands(c.make) }))
			}
			if c.spoil != nil {
				c.spoil(&m.fabric)
			}
			before := m.kernelState(t)
			err := m.join(t)
			if err == nil {
				t.Fatal("Join() = nil")
			}
			for _, word := range c.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("Join() = %v; want that it names %s", err, word)
				}
			}
			sameState(t, before, m.kernelState(t))
		})
	}
}

func TestJoinRefusesABridgeOfALongName(t *testing.T) {
	m := newMachines(t, 1).nodes[0]
	long := network.NewOn("flocker-long", slog.New(slog.DiscardHandler))
	err := within(t, m.ns, func() error {
		return errors.Join(commands("ip link set "+clusterBridge+" name flocker-long"), long.Join(t.Context(), m.fabric))
	})
	if err == nil || !strings.Contains(err.Error(), "at most 11 letters") {
		t.Errorf("Join() = %v; want that it says how long the name may be", err)
	}
}
