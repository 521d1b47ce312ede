// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/network"
)

// A published port answers on every node, whoever asks and however the kernel filters bridged frames.
func TestPublishedPortAnswersOnEveryNode(t *testing.T) {
	inEachFamily(t, publishedPortAnswersOnEveryNode)
}

func publishedPortAnswersOnEveryNode(t *testing.T, f family) {
	for _, filtered := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+filtered, func(t *testing.T) {
			c := newCluster(t, 3)
			address := application(1)
			inside := c.nodes[0].holder(t, address)
			whoAsks(t, inside, 7000)
			echoPackets(t, inside, 7000)
			c.nodes[0].live(t, address)
			udp := publication(address, 7001)
			udp.Protocol = "udp"
			for i, m := range c.nodes {
				must(t, within(t, m.ns, func() error { return bridgeFilters(filtered) }))
				m.publish(t, publication(address, 7001), udp)
				neighbour := m.holder(t, application(10+i))
				must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Enliven(ctx, application(10+i)) }))
				other := m.otherNetwork(t)
				node, underlay := m.fabric.Address, m.fabric.Underlay
				for _, ask := range []struct {
					name string
					from netns.NsHandle
					to   netip.Addr
					kept bool
				}{
					{"from another machine", c.client, underlay, i == 0},
					{"from the node by its address", m.ns, underlay, false},
					{"from the node by 127.0.0.1", m.ns, f.selfOf(m), false},
					{"from the node by its cluster address", m.ns, node, false},
					{"from an application by the node's address", neighbour, underlay, false},
					{"from an application by the gateway", neighbour, node, false},
					{"from docker's other network", other, underlay, false},
				} {
					f.checkAsk(t, i, ask.name, ask.from, ask.to, ask.kept)
				}
				if f == four { // there is one service address
					f.checkAsk(t, i, "from the node by the service address", m.ns, service, false)
					f.checkAsk(t, i, "from an application by the service address", neighbour, service, false)
				}
			}
			own := []netip.Addr{c.nodes[0].fabric.Underlay, c.nodes[0].fabric.Address, c.nodes[1].fabric.Underlay, service}
			if f == six {
				own = own[:3]
			}
			for _, to := range own {
				f.checkAsk(t, 0, "from the application itself", inside, to, false)
			}
		})
	}
}

// checkAsk asks by TCP and UDP; kept says that the client's own address must be seen, else it must not.
func (f family) checkAsk(t *testing.T, node int, name string, from netns.NsHandle, to netip.Addr, kept bool) {
	t.Helper()
	seen, err := ask(short(t), t, from, f.at(to, 7001))
	if err != nil || (seen == f.of(clientAddress).String()) != kept {
		t.Errorf("node %d, %s (%s): sees %q, %v", node+1, name, to, seen, err)
	}
	if err := packet(short(t), t, from, f.at(to, 7001)); err != nil {
		t.Errorf("node %d, %s (%s), UDP: %v", node+1, name, to, err)
	}
}

func TestApplicationsReachEachOtherAndTheWorld(t *testing.T) {
	inEachFamily(t, applicationsReachEachOtherAndTheWorld)
}

func applicationsReachEachOtherAndTheWorld(t *testing.T, f family) {
	for _, filtered := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+filtered, func(t *testing.T) {
			c := newCluster(t, 2)
			var all []netns.NsHandle
			for i := range 3 {
				m := c.nodes[i%2]
				must(t, within(t, m.ns, func() error { return bridgeFilters(filtered) }))
				all = append(all, m.holder(t, application(i)))
				m.enliven(t, application(i))
				whoAsks(t, all[i], 7000)
			}
			for i, from := range all {
				for j := range all {
					seen, err := ask(short(t), t, from, f.at(application(j), 7000))
					if err != nil || seen != f.of(application(i)).String() {
						t.Errorf("application %d asks %d: seen as %q, %v", i, j, seen, err)
					}
				}
			}
			whoAsks(t, c.client, 7500)
			seen, err := ask(short(t), t, all[1], f.at(clientAddress, 7500))
			if want := f.of(c.nodes[1].fabric.Underlay).String(); err != nil || seen != want {
				t.Errorf("the world sees %q, %v; want the node's address %s", seen, err, want)
			}
		})
	}
}

// The service address is every node's own: nobody's question about it, and no answer, crosses to another.
func TestServiceAddressIsEachNodesOwn(t *testing.T) {
	c := newCluster(t, 2)
	var insides []netns.NsHandle
	for i, m := range c.nodes {
		insides = append(insides, m.holder(t, application(i)))
		m.enliven(t, application(i))
		greet(t, m.ns, service.String()+":7400", fmt.Sprintf("node%d", i))
	}
	for i, inside := range insides {
		for _, from := range []netns.NsHandle{inside, c.nodes[i].ns} {
			said, err := ask(short(t), t, from, service.String()+":7400")
			if err != nil || said != fmt.Sprintf("node%d", i) {
				t.Errorf("on node %d %q answers, %v", i, said, err)
			}
		}
	}
	// Even where a node does not answer itself, the other is not heard.
	must(t, within(t, c.nodes[0].ns, func() error { return commands("ip addr del " + service.String() + "/32 dev " + clusterBridge) }))
	must(t, within(t, insides[0], func() error { return commands("ip neigh flush all") }))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if said, err := ask(ctx, t, insides[0], service.String()+":7400"); err == nil {
		t.Errorf("an application of node 0 hears %q from another node", said)
	}
}

func TestTunnelCarriesAsMuchAsItSays(t *testing.T) {
	c := newCluster(t, 2)
	a, b := c.nodes[0].holder(t, application(0)), c.nodes[1].holder(t, application(1))
	for i, m := range c.nodes {
		m.enliven(t, application(i))
	}
	occupy(t, a)
	c.nodes[0].publish(t) // finds the namespace by its process
	must(t, c.nodes[1].on(t, func(ctx context.Context, n *network.Network) error { return n.SetGate(ctx, path(b), true) }))
	echoPackets(t, b, 7000)
	for _, side := range []netns.NsHandle{a, b} {
		if out := output(t, side, "ip link show eth0"); !strings.Contains(out, "mtu 1450") {
			t.Errorf("an application's link is %s; want mtu 1450", out)
		}
	}
	err := within(t, a, func() error {
		connection, err := new(net.Dialer).DialContext(t.Context(), "udp", application(1).String()+":7000")
		if err != nil {
			return err
		}
		defer connection.Close()
		return talk(connection, make([]byte, 1450-28))
	})
	if err != nil {
		t.Errorf("a packet of the full size: %v", err)
	}
}

// occupy keeps a process in the namespace, as a container has one.
func occupy(t *testing.T, inside netns.NsHandle) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	held := run.Command(ctx, "sleep", "600")
	must(t, within(t, inside, held.Start))
	t.Cleanup(func() {
		cancel()
		_ = held.Wait() // it ends no other way
	})
}

// talk sends a packet and waits for the same back.
func talk(connection net.Conn, packet []byte) error {
	if err := connection.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := connection.Write(packet); err != nil {
		return err
	}
	got, err := connection.Read(make([]byte, 1<<16))
	if err == nil && got != len(packet) {
		err = fmt.Errorf("%d bytes came back of %d", got, len(packet))
	}
	return err
}

func packet(_ context.Context, t *testing.T, from netns.NsHandle, address string) error {
	t.Helper()
	return within(t, from, func() error {
		connection, err := new(net.Dialer).DialContext(t.Context(), "udp", address)
		if err != nil {
			return err
		}
		defer connection.Close()
		return talk(connection, []byte("x"))
	})
}

// echoPackets sends each UDP packet back.
func echoPackets(t *testing.T, inside netns.NsHandle, port int) net.PacketConn {
	t.Helper()
	var socket net.PacketConn
	must(t, within(t, inside, func() (err error) {
		socket, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp", fmt.Sprintf(":%d", port))
		return err
	}))
	t.Cleanup(func() { socket.Close() })
	go func() {
		packet := make([]byte, 1<<16)
		for {
			size, from, err := socket.ReadFrom(packet)
			if err != nil {
				return
			}
			if _, err := socket.WriteTo(packet[:size], from); err != nil {
				return
			}
		}
	}()
	return socket
}

// greet answers every connection to the address with a word.
func greet(t *testing.T, inside netns.NsHandle, address, word string) {
	t.Helper()
	listener := listen(t, inside, address)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(connection, word)
			connection.Close()
		}
	}()
}

// otherNetwork is a container in another network of Docker's on the node, which Docker keeps from the first.
func (m *machine) otherNetwork(t *testing.T) netns.NsHandle {
	t.Helper()
	m.others++
	bridge, gateway := fmt.Sprintf("br-%d", m.others), netip.AddrFrom4([4]byte{172, 31, byte(m.others), 1})
	must(t, within(t, m.ns, func() error {
		err := commands("ip link add "+bridge+" type bridge", "ip addr add "+gateway.String()+"/24 dev "+bridge,
			fmt.Sprintf("ip addr add %s/64 dev %s nodad", six.of(gateway), bridge), "ip link set "+bridge+" up")
		for iptables, subnet := range map[string]string{"iptables": gateway.String() + "/24", "ip6tables": six.of(gateway).String() + "/64"} {
			err = errors.Join(err, commands(
				iptables+" -I FORWARD 2 -i "+bridge+" -o "+clusterBridge+" -j DROP",
				iptables+" -I FORWARD 2 -i "+clusterBridge+" -o "+bridge+" -j DROP",
				iptables+" -A FORWARD -o "+bridge+" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
				iptables+" -A FORWARD -i "+bridge+" ! -o "+bridge+" -j ACCEPT",
				iptables+" -t nat -A POSTROUTING -s "+subnet+" ! -o "+bridge+" -j MASQUERADE",
			))
		}
		return err
	}))
	inside := m.container(t, gateway.Next(), bridge, gateway, 24)
	awaitAsked(t, m.ns, bridge, six.of(gateway))
	return inside
}

// awaitAsked waits until the kernel hears who asks for its IPv6 address on a device that has come up; a first question before that
// would be asked again after a second.
func awaitAsked(t *testing.T, inside netns.NsHandle, device string, addr netip.Addr) {
	t.Helper()
	last := addr.As16()
	group := fmt.Sprintf("%-15s ff0200000000000000000001ff%x ", device, last[13:])
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	must(t, within(t, inside, func() error {
		for range 2000 {
			groups, err := os.ReadFile("/proc/thread-self/net/igmp6")
			if err != nil || strings.Contains(string(groups), group) {
				return err
			}
			<-tick.C
		}
		return fmt.Errorf("%s does not hear who asks for %s", device, addr)
	}))
}
