// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/network"
)

// node is this process's network namespace made like a node's: Docker's bridge and rules, an application and a client elsewhere.
type node struct {
	*network.Network
	bridge      string
	application netns.NsHandle
	neighbour   netns.NsHandle // another container on the bridge
	client      netns.NsHandle
	port        int
}

const (
	gateway            = "172.30.0.1"
	applicationAddress = "172.30.0.2"
	neighbourAddress   = "172.30.0.3"
	nodeAddress        = "10.9.0.1"
)

var nodes atomic.Int32

func newNode(t *testing.T) *node {
	t.Helper()
	needKernel(t)
	n := &node{bridge: fmt.Sprintf("flt%d", nodes.Add(1)), port: 7000}
	n.Network = network.NewOn(n.bridge, slog.New(slog.NewTextHandler(t.Output(), nil)))
	n.application, n.neighbour, n.client = namespace(t), namespace(t), namespace(t)
	n.makeBridge(t)
	n.connect(t, n.application, applicationAddress, true)
	n.connect(t, n.neighbour, neighbourAddress, true)
	n.connect(t, n.client, "10.9.0.2", false)
	n.makeDockerRules(t)
	serve(t, n.application, n.port)
	t.Cleanup(func() {
		if err := n.Remove(context.Background()); err != nil { //nolint:usetesting // the test's own context has ended
			t.Error(err)
		}
	})
	return n
}

// needKernel skips a test that needs more than this machine or this user has.
func needKernel(t *testing.T) {
	t.Helper()
	if os.Getenv(inOwnNetwork) == "" {
		t.Skip("needs root: makes network namespaces")
	}
	if testing.Short() {
		t.Skip("makes network namespaces: not among the fast tests")
	}
	for _, program := range []string{"nft", "iptables", "ip"} {
		if err := run.Command(t.Context(), program, "-V").Run(); err != nil {
			t.Skipf("needs %s: %v", program, err)
		}
	}
}

func namespace(t *testing.T) netns.NsHandle {
	t.Helper()
	made := make(chan netns.NsHandle)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in the new namespace
		handle, err := netns.New()
		if err != nil {
			t.Error(err)
		}
		made <- handle
	}()
	handle := <-made
	t.Cleanup(func() { handle.Close() })
	return handle
}

func path(handle netns.NsHandle) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(handle))
}

// within runs f on a thread of the namespace.
func within(t *testing.T, handle netns.NsHandle, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := netns.Set(handle); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func command(t *testing.T, line string) string {
	t.Helper()
	words := strings.Fields(line)
	out, err := run.Command(t.Context(), words[0], words[1:]...).Output()
	must(t, err)
	return string(out)
}

func (n *node) makeBridge(t *testing.T) {
	t.Helper()
	command(t, "ip link set lo up")
	command(t, "ip link add "+n.bridge+" type bridge")
	command(t, "ip addr add "+gateway+"/24 dev "+n.bridge)
	command(t, "ip link set "+n.bridge+" up")
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	t.Cleanup(func() { must(t, netlink.LinkDel(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: n.bridge}})) })
}

// connect gives a namespace an address and a link to this one, to the bridge or directly.
func (n *node) connect(t *testing.T, inside netns.NsHandle, address string, bridged bool) {
	t.Helper()
	outer := fmt.Sprintf("o%d", nodes.Add(1))
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: outer}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(inside)),
	}))
	link, err := netlink.LinkByName(outer)
	must(t, err)
	via := gateway
	if bridged {
		bridge, err := netlink.LinkByName(n.bridge)
		must(t, err)
		must(t, netlink.LinkSetMaster(link, bridge))
	} else {
		command(t, "ip addr add "+nodeAddress+"/24 dev "+outer)
		via = nodeAddress
		t.Cleanup(func() { must(t, netlink.LinkDel(link)) })
	}
	must(t, netlink.LinkSetUp(link))
	must(t, within(t, inside, func() error { return configure(address, via) }))
}

func configure(address, via string) error {
	lo, err1 := netlink.LinkByName("lo")
	eth, err2 := netlink.LinkByName("eth0")
	parsed, err3 := netlink.ParseAddr(address + "/24")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetUp(lo), netlink.LinkSetUp(eth), netlink.AddrAdd(eth, parsed),
		netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(via)}))
}

// makeDockerRules are those of Docker's that concern a bridge network.
func (n *node) makeDockerRules(t *testing.T) {
	t.Helper()
	for _, rule := range []string{
		"-P FORWARD DROP",
		"-N DOCKER-USER",
		"-A DOCKER-USER -j RETURN",
		"-A FORWARD -j DOCKER-USER",
		"-A FORWARD -o " + n.bridge + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-A FORWARD -i " + n.bridge + " ! -o " + n.bridge + " -j ACCEPT",
		"-A FORWARD -i " + n.bridge + " -o " + n.bridge + " -j ACCEPT",
		"-t nat -A POSTROUTING -s 172.30.0.0/24 ! -o " + n.bridge + " -j MASQUERADE",
	} {
		command(t, "iptables "+rule)
	}
	t.Cleanup(func() {
		for _, line := range []string{"-F FORWARD", "-F DOCKER-USER", "-X DOCKER-USER", "-t nat -F POSTROUTING"} {
			if err := run.Command(context.Background(), "iptables", strings.Fields(line)...).Run(); err != nil { //nolint:usetesting // the test's own context has ended
				t.Error(err)
			}
		}
	})
}

// listen accepts connections in the namespace until the test ends.
func listen(t *testing.T, inside netns.NsHandle, address string) (listener net.Listener) {
	t.Helper()
	must(t, within(t, inside, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		return err
	}))
	t.Cleanup(func() { listener.Close() })
	return listener
}

// serve sends back what every connection brings.
func serve(t *testing.T, inside netns.NsHandle, port int) net.Listener {
	t.Helper()
	listener := listen(t, inside, ":"+strconv.Itoa(port))
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go echo(connection)
		}
	}()
	return listener
}

func echo(connection net.Conn) {
	defer connection.Close()
	piece := make([]byte, 4096)
	for {
		size, err := connection.Read(piece)
		if err != nil {
			return
		}
		if _, err := connection.Write(piece[:size]); err != nil {
			return
		}
	}
}

func dial(ctx context.Context, t *testing.T, from netns.NsHandle, address string) (connection net.Conn, err error) {
	err = within(t, from, func() (err error) {
		connection, err = new(net.Dialer).DialContext(ctx, "tcp", address)
		return err
	})
	return connection, err
}

// reach exchanges a byte with whoever answers at the address.
func reach(ctx context.Context, t *testing.T, from netns.NsHandle, address string) error {
	connection, err := dial(ctx, t, from, address)
	if err != nil {
		return err
	}
	defer connection.Close()
	return exchange(ctx, connection)
}

func exchange(ctx context.Context, connection net.Conn) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := connection.Write([]byte("x")); err != nil {
		return err
	}
	_, err := connection.Read(make([]byte, 1))
	return err
}

func (n *node) publication(port int) network.Publication {
	return network.Publication{Application: "app", Protocol: "tcp", External: port, Address: applicationAddress, Internal: n.port}
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}
