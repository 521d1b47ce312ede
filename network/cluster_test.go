// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/network"
)

// machines are nodes in namespaces of their own, and a client elsewhere, all joined by one switch.
type machines struct {
	nodes  []*machine
	client netns.NsHandle
	wire   netns.NsHandle // where the switch is
}

// machine is one of them. Network acts where its thread is, so each call goes through on.
type machine struct {
	network *network.Network
	ns      netns.NsHandle
	fabric  network.Fabric
	links   int
	others  int
	// monitors counts those of countElements, whose tables have names of their own.
	monitors int
}

const (
	clusterBridge = "flocker0"
	fabricPort    = 4789
)

var (
	clientAddress  = netip.MustParseAddr("10.9.0.100")
	clusterSubnet  = netip.MustParsePrefix("10.144.0.0/16")
	clusterSubnet6 = netip.MustParsePrefix("fd90:f10c::/64")
	service        = netip.MustParseAddr("10.144.0.1")
)

// newMachines makes nodes as Docker leaves them; nothing is joined yet.
func newMachines(t *testing.T, count int) *machines {
	t.Helper()
	needKernel(t)
	c := &machines{client: namespace(t), wire: namespace(t)}
	must(t, within(t, c.wire, func() error {
		return commands("ip link set lo up", "ip link add wire type bridge", "ip link set wire up")
	}))
	c.plug(t, c.client, "cl", clientAddress)
	for i := range count {
		m := &machine{ns: namespace(t)}
		m.fabric = network.Fabric{
			Subnet: clusterSubnet, Subnet6: clusterSubnet6, Service: service, Key: 77, Port: fabricPort,
			Address:  netip.AddrFrom4([4]byte{10, 144, 0, byte(2 + i)}),
			Underlay: netip.AddrFrom4([4]byte{10, 9, 0, byte(1 + i)}),
		}
		m.network = network.NewOn(clusterBridge, slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", i+1))
		c.plug(t, m.ns, fmt.Sprintf("n%d", i), m.fabric.Underlay)
		must(t, within(t, m.ns, m.install))
		c.nodes = append(c.nodes, m)
	}
	for _, m := range c.nodes {
		for _, other := range c.nodes {
			if other != m {
				m.fabric.Peers = append(m.fabric.Peers, other.fabric.Underlay)
			}
		}
	}
	return c
}

// newCluster makes nodes that have joined.
func newCluster(t *testing.T, count int) *machines {
	t.Helper()
	c := newMachines(t, count)
	for _, m := range c.nodes {
		must(t, m.join(t))
	}
	return c
}

// plug gives a namespace an address at the switch.
func (c *machines) plug(t *testing.T, inside netns.NsHandle, port string, address netip.Addr) {
	t.Helper()
	must(t, within(t, c.wire, func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(inside)),
		})
		return errors.Join(err, commands("ip link set "+port+" master wire up"))
	}))
	must(t, within(t, inside, func() error {
		return errors.Join(
			// An address that is looked for on the link first looks different for a second.
			os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_dad", []byte("0"), 0o644),
			commands("ip link set lo up", fmt.Sprintf("ip addr add %s/24 dev eth0", address),
				fmt.Sprintf("ip addr add %s/64 dev eth0 nodad", six.of(address)), "ip link set eth0 up"))
	}))
}

// install makes what Docker makes on a node: the bridge with the node's address, and its rules.
func (m *machine) install() error {
	return errors.Join(
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644),
		os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644),
		os.WriteFile("/proc/sys/net/ipv6/conf/all/accept_dad", []byte("0"), 0o644),
		commands(
			"ip link add "+clusterBridge+" type bridge",
			"ip addr add "+m.fabric.Address.String()+"/16 dev "+clusterBridge,
			fmt.Sprintf("ip addr add %s/64 dev %s nodad", six.of(m.fabric.Address), clusterBridge),
			"ip addr add fe80::1/64 dev "+clusterBridge+" nodad", // Docker's, the same on every node
			"ip link set "+clusterBridge+" up",
		),
		dockerRules("iptables", clusterSubnet), dockerRules("ip6tables", clusterSubnet6))
}

func dockerRules(iptables string, subnet netip.Prefix) error {
	return commands(
		iptables+" -P FORWARD DROP",
		iptables+" -N DOCKER-USER",
		iptables+" -A DOCKER-USER -j RETURN",
		iptables+" -A FORWARD -j DOCKER-USER",
		iptables+" -A FORWARD -o "+clusterBridge+" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		iptables+" -A FORWARD -i "+clusterBridge+" ! -o "+clusterBridge+" -j ACCEPT",
		iptables+" -A FORWARD -i "+clusterBridge+" -o "+clusterBridge+" -j ACCEPT",
		iptables+" -t nat -A POSTROUTING -s "+subnet.String()+" ! -o "+clusterBridge+" -j MASQUERADE",
	)
}

// on calls the node's Network in the node's namespace.
func (m *machine) on(t *testing.T, f func(ctx context.Context, n *network.Network) error) error {
	t.Helper()
	return within(t, m.ns, func() error { return f(t.Context(), m.network) })
}

func (m *machine) join(t *testing.T) error {
	t.Helper()
	return m.on(t, func(ctx context.Context, n *network.Network) error { return n.Join(ctx, m.fabric) })
}

func (m *machine) live(t *testing.T, addrs ...netip.Addr) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Live(ctx, addrs) }))
}

func (m *machine) enliven(t *testing.T, addr netip.Addr) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Enliven(ctx, addr) }))
}

func (m *machine) deaden(t *testing.T, addr netip.Addr) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Deaden(ctx, addr) }))
}

func (m *machine) publish(t *testing.T, all ...network.Publication) {
	t.Helper()
	must(t, m.on(t, func(ctx context.Context, n *network.Network) error { return n.Publish(ctx, all) }))
}

// holder makes a container of the address on the node, with its hardware address, its link up and a word to its neighbours.
func (m *machine) holder(t *testing.T, address netip.Addr) netns.NsHandle {
	t.Helper()
	return m.container(t, address, clusterBridge, m.fabric.Address, 16)
}

func (m *machine) container(t *testing.T, address netip.Addr, bridge string, gateway netip.Addr, bits int) netns.NsHandle {
	t.Helper()
	inside := namespace(t)
	m.links++
	port := fmt.Sprintf("c%d", m.links)
	must(t, within(t, m.ns, func() error {
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(inside)),
		})
		return errors.Join(err, commands("ip link set "+port+" master "+bridge+" up"))
	}))
	must(t, within(t, inside, func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/conf/eth0/arp_notify", []byte("1"), 0o644),
			commands("ip link set lo up", "ip link set eth0 address "+cluster.MACOf(address),
				fmt.Sprintf("ip addr add %s/%d dev eth0", address, bits), fmt.Sprintf("ip addr add %s/64 dev eth0 nodad", six.of(address)),
				"ip link set eth0 up", "ip route add default via "+gateway.String(), "ip route add default via "+six.of(gateway).String()))
	}))
	awaitUp(t, m.ns, port)
	awaitUp(t, inside, "eth0")
	return inside
}

// awaitUp waits until the kernel is done with an end of a link that was set up, the bridge's or the container's; before, a first
// question would be lost for a second.
func awaitUp(t *testing.T, inside netns.NsHandle, name string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	must(t, within(t, inside, func() error {
		for range 2000 {
			link, err := netlink.LinkByName(name)
			if err != nil || link.Attrs().OperState == netlink.OperUp {
				return err
			}
			<-tick.C
		}
		return fmt.Errorf("link %s does not come up", name)
	}))
}

// publication leads a port of every node to port 7000 of the application at the address.
func publication(address netip.Addr, external int) network.Publication {
	return network.Publication{
		Application: "app-" + address.String(), Protocol: "tcp", External: external, Address: address.String(), Internal: 7000,
	}
}

// application is the address of the application of this number.
func application(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 144, byte(1 + number/250), byte(1 + number%250)})
}

// commands are run in the thread's namespace.
func commands(lines ...string) error {
	for _, line := range lines {
		words := strings.Fields(line)
		if err := run.Command(context.Background(), words[0], words[1:]...).Run(); err != nil {
			return err
		}
	}
	return nil
}

// output is what a command says in a namespace.
func output(t *testing.T, inside netns.NsHandle, line string) string {
	t.Helper()
	var out []byte
	must(t, within(t, inside, func() (err error) {
		words := strings.Fields(line)
		out, err = run.Command(t.Context(), words[0], words[1:]...).Output()
		return err
	}))
	return string(out)
}

// whoAsks answers every connection with the address that the client is seen with.
func whoAsks(t *testing.T, inside netns.NsHandle, port int) net.Listener {
	t.Helper()
	listener := listen(t, inside, fmt.Sprintf(":%d", port))
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(connection.RemoteAddr().String())
			fmt.Fprintln(connection, host)
			connection.Close()
		}
	}()
	return listener
}

// ask returns the address that whoAsks saw.
func ask(ctx context.Context, t *testing.T, from netns.NsHandle, address string) (string, error) {
	t.Helper()
	connection, err := dial(ctx, t, from, address)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	var seen string
	_, err = fmt.Fscanln(connection, &seen)
	return seen, err
}
