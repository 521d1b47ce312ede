// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/flocker-project/flocker/internal/run"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/network/networktest"
)

// inOwnNetwork marks the process of the tests that has a network namespace to itself.
const inOwnNetwork = "FLOCKER_TEST_IN_OWN_NETWORK"

// TestMain runs the tests again in a network namespace of their own, so that they cannot touch the machine's.
func TestMain(m *testing.M) {
	if os.Getenv(inOwnNetwork) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	again := run.Command(context.Background(), "unshare", append([]string{"--net", "--", os.Args[0]}, os.Args[1:]...)...)
	again.Env = []string{inOwnNetwork + "=1"}
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	if err := again.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestContract(t *testing.T) {
	networktest.Run(t, func(t *testing.T) networktest.Subject {
		n := newNode(t)
		return networktest.Subject{
			Gates: n, Ports: n, Namespace: path(n.application), Address: applicationAddress, Port: n.port,
			Reach: func(ctx context.Context, port int) error {
				return reach(ctx, t, n.client, net.JoinHostPort(nodeAddress, strconv.Itoa(port)))
			},
		}
	})
}

func TestPublishedPortAnswersFromEverywhere(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7001)}))
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	for name, c := range map[string]struct {
		from netns.NsHandle
		to   string
	}{
		"from another machine":                {n.client, nodeAddress},
		"from the node by its address":        {here, nodeAddress},
		"from the node by 127.0.0.1":          {here, "127.0.0.1"},
		"from the node by the bridge's":       {here, gateway},
		"from a container by the node's":      {n.neighbour, nodeAddress},
		"from a container by the bridge's":    {n.neighbour, gateway},
		"from the application itself":         {n.application, nodeAddress},
		"from the application by the gateway": {n.application, gateway},
	} {
		if err := reach(short(t), t, c.from, c.to+":7001"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnpublishedPortRefusesAtOnce(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7001), n.publication(7002)}))
	ctx := short(t)
	cut, err := dial(ctx, t, n.client, nodeAddress+":7001")
	must(t, err)
	defer cut.Close()
	kept, err := dial(ctx, t, n.client, nodeAddress+":7002")
	must(t, err)
	defer kept.Close()
	must(t, exchange(ctx, cut))
	must(t, exchange(ctx, kept))

	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7002)}))
	if err := reach(short(t), t, n.client, nodeAddress+":7001"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection gets %v; want connection refused", err)
	}
	if err := exchange(short(t), cut); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection gets %v; want connection reset", err)
	}
	if err := exchange(short(t), kept); err != nil {
		t.Errorf("an open connection through another port: %v", err)
	}
}

func TestOnlyPublishedPortsPassToTheBridge(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := reach(ctx, t, n.client, fmt.Sprintf("%s:%d", applicationAddress, n.port)); err == nil {
		t.Error("another machine reaches a container by its own address")
	}
}

// What listens on the node's loopback address only must stay closed to containers, although the bridge routes such addresses now.
func TestContainersDoNotReachTheNodesLoopback(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:7009")
	must(t, err)
	defer listener.Close()
	must(t, within(t, n.neighbour, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		own, err1 := netlink.ParseAddr("127.0.0.1/8")
		_, loopback, err2 := net.ParseCIDR("127.0.0.0/8")
		return errors.Join(err1, err2, netlink.AddrDel(lo, own),
			os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644),
			netlink.RouteAdd(&netlink.Route{Dst: loopback, Gw: net.ParseIP(gateway)}))
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	connection, err := dial(ctx, t, n.neighbour, "127.0.0.1:7009")
	if err == nil {
		connection.Close()
		t.Error("a container reaches what listens on the node's loopback address")
	}
}

func TestEnsureAgainChangesNothing(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7001)}))
	before := command(t, "nft --handle list ruleset")
	must(t, n.Ensure(t.Context()))
	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7001)}))
	if after := command(t, "nft --handle list ruleset"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestEnsureMendsWhatAnotherHandTookAway(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	command(t, "nft flush chain ip flocker prerouting")
	command(t, "iptables -F DOCKER-USER")
	must(t, n.Ensure(t.Context()))
	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7001)}))
	if err := reach(short(t), t, n.client, nodeAddress+":7001"); err != nil {
		t.Error(err)
	}
}

func TestPublishSeesWhatAnotherHandChanged(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7001), n.publication(7002)}))
	must(t, network.NewOn(n.bridge, slog.New(slog.DiscardHandler)).Publish(t.Context(), []network.Publication{n.publication(7003)}))
	want := []network.Publication{n.publication(7002), n.publication(7003), n.publication(7004)}
	must(t, n.Publish(t.Context(), want))
	if published, err := n.Published(t.Context()); err != nil || !slices.Equal(published, want) {
		t.Errorf("Published() = %+v, %v; want %+v", published, err, want)
	}
	command(t, "nft delete table ip flocker")
	must(t, n.Publish(t.Context(), want[:1]))
	if err := reach(short(t), t, n.client, nodeAddress+":7002"); err != nil {
		t.Errorf("after another hand removed the table: %v", err)
	}
}

func TestRemoveLeavesNoRule(t *testing.T) {
	n := newNode(t)
	before := command(t, "nft list ruleset")
	must(t, n.Ensure(t.Context()))
	must(t, n.Publish(t.Context(), []network.Publication{n.publication(7001)}))
	must(t, n.Remove(t.Context()))
	if after := command(t, "nft list ruleset"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestPublishedPortsOutliveTheAgent(t *testing.T) {
	n := newNode(t)
	must(t, n.Ensure(t.Context()))
	want := n.publication(7001)
	must(t, n.Publish(t.Context(), []network.Publication{want}))
	again := network.NewOn(n.bridge, slog.New(slog.DiscardHandler))
	published, err := again.Published(t.Context())
	if err != nil || len(published) != 1 || published[0] != want {
		t.Errorf("Published() of a new agent = %+v, %v; want %+v", published, err, want)
	}
}

func TestTalkInsideReachesTheApplicationBehindItsGate(t *testing.T) {
	n := newNode(t)
	must(t, n.SetGate(t.Context(), path(n.application), false))
	must(t, n.TalkInside(short(t), path(n.application), n.port, func(c net.Conn) error { return exchange(t.Context(), c) }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := n.TalkInside(ctx, path(n.application), n.port, func(c net.Conn) error {
		_, err := c.Read(make([]byte, 1)) // nobody speaks
		return err
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("TalkInside() with a silent server = %v; want that it ends with its context", err)
	}
}

func TestNamespaceWithoutLink(t *testing.T) {
	n := newNode(t)
	alone := namespace(t)
	if err := n.SetGate(t.Context(), path(alone), false); !errors.Is(err, network.ErrNoLink) {
		t.Errorf("SetGate() = %v; want ErrNoLink", err)
	}
}

func TestListeningNamesTheProcess(t *testing.T) {
	n := newNode(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	must(t, err)
	defer listener.Close()
	packets, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	must(t, err)
	defer packets.Close()
	ports, err := n.Listening(t.Context())
	must(t, err)
	for _, port := range []network.Port{
		{Protocol: "tcp", Number: listener.Addr().(*net.TCPAddr).Port},
		{Protocol: "udp", Number: packets.LocalAddr().(*net.UDPAddr).Port},
	} {
		if who := ports[port]; !strings.Contains(who, strconv.Itoa(os.Getpid())) {
			t.Errorf("port %v is used by %q; want this process, %d", port, who, os.Getpid())
		}
	}
}

// Looks follow each other: who is known is not looked for again, who is new is named, and who has ended is forgotten.
func TestListeningFollowsWhoComesAndGoes(t *testing.T) {
	n := newNode(t)
	who := func(l net.Listener) string {
		ports, err := n.Listening(t.Context())
		must(t, err)
		return ports[network.Port{Protocol: "tcp", Number: l.Addr().(*net.TCPAddr).Port}]
	}
	first, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	must(t, err)
	defer first.Close()
	was := who(first)
	second, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	must(t, err)
	if now, other := who(first), who(second); now != was || other != was || !strings.Contains(other, fmt.Sprintf("(pid %d)", os.Getpid())) {
		t.Errorf("first %q, then %q, beside %q", was, now, other)
	}
	second.Close()
	if gone := who(second); gone != "" {
		t.Errorf("after its end %q has it", gone)
	}
}
