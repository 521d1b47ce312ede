// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/network"
)

// Without a subnet of IPv6 nothing of it is made, and what was made with one goes away; with one again, all is published.
func TestHostWithoutIPv6(t *testing.T) {
	m := newMachines(t, 1).nodes[0]
	greet(t, m.holder(t, application(1)), ":7000", "here")
	for _, subnet := range []netip.Prefix{{}, clusterSubnet6, {}, clusterSubnet6} {
		m.fabric.Subnet6 = subnet
		must(t, m.join(t))
		m.live(t, application(1))
		m.publish(t, publication(application(1), 7001))
		tables := output(t, m.ns, "nft list tables")
		if strings.Contains(tables, "ip6 flocker") != subnet.IsValid() {
			t.Errorf("with the subnet %s there are the tables\n%s", subnet, tables)
		}
		if rules := output(t, m.ns, "ip6tables -S DOCKER-USER"); strings.Contains(rules, "flocker0") != subnet.IsValid() {
			t.Errorf("with the subnet %s there are the rules\n%s", subnet, rules)
		}
		for _, f := range []family{four, six} {
			said, err := ask(short(t), t, m.ns, f.at(m.fabric.Underlay, 7001))
			if want := f == four || subnet.IsValid(); (err == nil && said == "here") != want {
				t.Errorf("with the subnet %s by %s: %q, %v; want an answer: %v", subnet, f, said, err, want)
			}
		}
	}
}

func TestJoinRefusesIPv6(t *testing.T) {
	for name, c := range map[string]struct {
		make  string // on the node
		spoil func(*network.Fabric)
		says  []string
	}{
		"an address of another device": {
			make: "ip addr add fd90:f10c::7/128 dev eth0 nodad", says: []string{"fd90:f10c::/64", "eth0", "fd90:f10c::7"},
		},
		"a route of another device": {
			make: "ip route add fd90:f10c::/65 dev eth0", says: []string{"fd90:f10c::/64", "eth0", "fd90:f10c::/65"},
		},
		"an underlay of small frames": {make: "ip link set eth0 mtu 1320", says: []string{"fd90:f10c::/64", "1270", "1280", "10.9.0.1"}},
		"a bridge without an address": {
			make: "ip addr flush dev " + clusterBridge + " scope global", says: []string{clusterBridge, "remove Docker's network"},
		},
		"a bridge of another address": {
			spoil: func(f *network.Fabric) { f.Subnet6 = netip.MustParsePrefix("fd91::/64") },
			says:  []string{clusterBridge, "fd91::a90:2/64", "remove Docker's network"},
		},
		"a subnet of another size": {
			spoil: func(f *network.Fabric) { f.Subnet6 = netip.MustParsePrefix("fd90:f10c::/80") }, says: []string{"fd90:f10c::/80", "64 bits"},
		},
		"a subnet of one link": {
			spoil: func(f *network.Fabric) { f.Subnet6 = netip.MustParsePrefix("fe80::/64") }, says: []string{"fe80::/64"},
		},
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

// What listens on the node's loopback address is left alone: packets from there cannot be led anywhere.
func TestLoopbackOfIPv6IsNotLed(t *testing.T) {
	m := newCluster(t, 1).nodes[0]
	greet(t, m.holder(t, application(1)), ":7000", "application")
	m.live(t, application(1))
	m.publish(t, publication(application(1), 7001))
	greet(t, m.ns, "[::1]:7001", "loopback")
	for to, want := range map[string]string{"[::1]:7001": "loopback", six.at(m.fabric.Underlay, 7001): "application"} {
		if said, err := ask(short(t), t, m.ns, to); said != want || err != nil {
			t.Errorf("%s answers %q, %v; want %s", to, said, err, want)
		}
	}
}

// Engines before Docker 27 filter no IPv6 unless they are told to: what is not published is shut all the same.
func TestOnlyPublishedPortsPassByIPv6(t *testing.T) {
	c := newCluster(t, 1)
	m, address := c.nodes[0], application(1)
	greet(t, m.holder(t, address), ":7000", "here")
	m.live(t, address)
	m.publish(t, publication(address, 7001))
	other := m.otherNetwork(t)
	must(t, within(t, m.ns, func() error { return commands("ip6tables -F FORWARD", "ip6tables -P FORWARD ACCEPT") }))
	must(t, within(t, c.client, func() error {
		return commands(fmt.Sprintf("ip route add %s via %s", clusterSubnet6, six.of(m.fabric.Underlay)))
	}))
	if said, err := ask(short(t), t, c.client, six.at(m.fabric.Underlay, 7001)); err != nil || said != "here" {
		t.Errorf("the published port: %q, %v", said, err)
	}
	for name, from := range map[string]netns.NsHandle{"another machine": c.client, "a container of another network": other} {
		if _, err := ask(short(t), t, from, six.at(address, 7000)); err == nil {
			t.Errorf("%s reaches an application by its own address", name)
		}
	}
}

// Docker gives each node's bridge fe80::1, and takes the kernel's own address of the link away when it starts again. Two nodes that
// found each other's would have none to ask from.
func TestNodesWithTheSameLinkAddressAsk(t *testing.T) {
	c := newMachines(t, 2)
	m, address := c.nodes[0], application(1)
	for _, m := range c.nodes {
		m.set6(t, clusterBridge+"/accept_dad", "1")
		must(t, within(t, m.ns, func() error {
			return commands("ip -6 addr flush dev "+clusterBridge+" scope link", "ip addr add fe80::1/64 dev "+clusterBridge)
		}))
		must(t, m.join(t))
	}
	greet(t, m.holder(t, address), ":7000", "here")
	m.live(t, address)
	m.publish(t, publication(address, 7001))
	for range 3 {
		pass(t, 300*time.Millisecond)
		for _, m := range c.nodes {
			if out := output(t, m.ns, "ip -6 addr show dev "+clusterBridge+" scope link"); strings.Contains(out, "tentative") || !strings.Contains(out, "fe80::1/64") {
				t.Errorf("the bridge cannot ask from its address of the link:\n%s", out)
			}
		}
		must(t, within(t, m.ns, func() error { return commands("ip -6 neigh flush dev " + clusterBridge) }))
		if said, err := ask(short(t), t, c.client, six.at(m.fabric.Underlay, 7001)); err != nil || said != "here" {
			t.Errorf("the published port: %q, %v", said, err)
		}
	}
}

// Both families are published or none, whatever another hand has done to one.
func TestPublishMendsEitherFamily(t *testing.T) { inEachFamily(t, publishMendsEitherFamily) }

func publishMendsEitherFamily(t *testing.T, f family) {
	m := newCluster(t, 1).nodes[0]
	greet(t, m.holder(t, application(1)), ":7000", "here")
	m.live(t, application(1))
	all := []network.Publication{publication(application(1), 7001), publication(application(1), 7002)}
	for name, spoil := range map[string]string{
		"one port gone": "nft delete element " + f.table() + " published { tcp . 7001 }",
		"a port more":   "nft add element " + f.table() + " published { tcp . 7003 : " + f.of(application(1)).String() + " . 7000 }",
		"no table":      "nft delete table " + f.table(),
	} {
		m.publish(t, all...)
		must(t, within(t, m.ns, func() error { return commands(spoil) }))
		must(t, m.on(t, func(ctx context.Context, n *network.Network) error {
			published, err := n.Published(ctx)
			if name == "one port gone" && len(published) != 1 {
				t.Errorf("%s: Published() = %v; want what is led in both families", name, published)
			}
			return err
		}))
		m.publish(t, all...)
		for port, want := range map[int]bool{7001: true, 7002: true, 7003: false} {
			if _, err := ask(short(t), t, m.ns, f.at(m.fabric.Underlay, port)); (err == nil) != want {
				t.Errorf("%s: port %d: %v; want an answer: %v", name, port, err, want)
			}
		}
		m.publish(t, all[:1]...)
	}
}

func TestClientsOfAPortThatGoesAreTold(t *testing.T) { inEachFamily(t, clientsOfAPortThatGoesAreTold) }

func clientsOfAPortThatGoesAreTold(t *testing.T, f family) {
	c := newCluster(t, 1)
	m := c.nodes[0]
	serve(t, m.holder(t, application(1)), 7000)
	m.live(t, application(1))
	m.publish(t, publication(application(1), 7001), publication(application(1), 7002))
	cut, err1 := dial(short(t), t, c.client, f.at(m.fabric.Underlay, 7001))
	kept, err2 := dial(short(t), t, c.client, f.at(m.fabric.Underlay, 7002))
	must(t, errors.Join(err1, err2))
	defer cut.Close()
	defer kept.Close()
	must(t, errors.Join(exchange(short(t), cut), exchange(short(t), kept)))
	m.publish(t, publication(application(1), 7002))
	if err := exchange(short(t), cut); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection gets %v; want connection reset", err)
	}
	if err := exchange(short(t), kept); err != nil {
		t.Errorf("an open connection through another port: %v", err)
	}
}

// Enliven alone releases what waits, on the target or on the source: nobody need ask again.
func TestEnlivenReleasesWhatWaits(t *testing.T) { inEachFamily(t, enlivenReleasesWhatWaits) }

func enlivenReleasesWhatWaits(t *testing.T, f family) {
	for name, word := range map[string]byte{"on the target": 't', "on the source": 's'} {
		t.Run(name, func(t *testing.T) { enlivenReleases(t, f, word) })
	}
}

func enlivenReleases(t *testing.T, f family, word byte) {
	h := newHolding(t, f)
	h.connect(t) // containers know the hardware address: they do not wait by themselves
	must(t, within(t, h.source.ns, func() error {
		return os.WriteFile(f.settings()+"neigh/"+clusterBridge+"/retrans_time_ms", []byte("10000"), 0o644)
	}))
	h.source.hold(t, h.address, holdLimit)
	load := attempt(t, h.askers, 200)
	pass(t, 100*time.Millisecond)
	h.source.deaden(t, h.address)
	answering(t, h.to, 't')
	at := h.target
	if word == 's' {
		at = h.source
	}
	at.enliven(t, h.address)
	for _, one := range load.end() {
		if one.err != nil || one.word != word || one.took > 500*time.Millisecond {
			t.Errorf("%s: %c, %v after %v", one.name, one.word, one.err, one.took)
		}
	}
}

// A host that forwards takes itself for a router and drops the default route that another advertises, unless it is told otherwise.
func TestIPv6IsRefusedWhereTheHostWouldLoseItsRoute(t *testing.T) {
	c := newMachines(t, 2)
	m, loses := c.nodes[0], c.nodes[1]
	must(t, within(t, m.ns, func() error { return commands("ip -6 route add default via fd09::7 dev eth0") }))
	m.hasIPv6(t, "a default route of its own", "")
	must(t, within(t, c.client, func() error {
		return advertiseRouter(func() bool { return m.isAdvertised(t) && loses.isAdvertised(t) })
	}))
	for _, m := range c.nodes {
		m.hasIPv6(t, "an advertised default route", "net.ipv6.conf.eth0.accept_ra to 2")
	}
	m.set6(t, "eth0/accept_ra", "2")
	m.hasIPv6(t, "a host that heeds routers while it forwards", "")
	must(t, m.join(t))
	if !m.isAdvertised(t) {
		t.Error("a member lost its default route, and nothing had spoken against it")
	}
	loses.set6(t, "all/forwarding", "1")
	if loses.isAdvertised(t) {
		t.Error("a host that forwards keeps the route that was thought to be lost: nothing need be refused")
	}
	m.set6(t, "all/disable_ipv6", "1")
	m.hasIPv6(t, "IPv6 is off", "disable_ipv6 is 1")
}

// hasIPv6 wants that applications can have IPv6 on this machine, or that what is said against it has these words.
func (m *machine) hasIPv6(t *testing.T, when, says string) {
	t.Helper()
	err := within(t, m.ns, network.IPv6OfHost)
	if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v; want %q", when, err, says)
	}
}

func (m *machine) isAdvertised(t *testing.T) bool {
	t.Helper()
	return strings.Contains(output(t, m.ns, "ip -6 route show default"), "proto ra")
}

func (m *machine) set6(t *testing.T, name, value string) {
	t.Helper()
	must(t, within(t, m.ns, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/"+name, []byte(value), 0o644) }))
}

// advertiseRouter sends router advertisements from the thread's namespace until they are heard.
func advertiseRouter(heard func() bool) error {
	socket, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	everyone := &unix.SockaddrInet6{Addr: netip.IPv6LinkLocalAllNodes().As16()}
	if err := unix.BindToDevice(socket, "eth0"); err != nil {
		return err
	}
	router := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0} // for 1,800 s; the kernel fills in the checksum
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 250 { // its own address may not be settled yet
		if err := unix.Sendto(socket, router, 0, everyone); err != nil {
			return fmt.Errorf("send router advertisement: %w", err)
		}
		<-tick.C
		if heard() {
			return nil
		}
	}
	return errors.New("nobody hears router advertisements")
}
