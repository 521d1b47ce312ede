// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/load"
)

// TestNoConnectionIsRefusedWhileItsApplicationMoves: new connections through any node wait for the application, and
// none is lost into the second after which a client asks again.
func TestNoConnectionIsRefusedWhileItsApplicationMoves(t *testing.T) {
	s := enter(t)
	clients := &load.Connector{Addresses: s.Everywhere(6379), PerSecond: 200, Within: 20 * time.Second}
	clients.Start(s.ctx)
	defer clients.Stop()
	home, others := s.home("redis"), s.others("redis")
	for _, node := range []string{others[0], others[1], home} {
		began := time.Now()
		m := s.moved("redis", node)
		seen := clients.Since(began)
		s.Logf("to %s: gap %v, %d connections, the longest wait %v", node, m.Report.Gap.Std(), seen.Attempts, seen.Longest)
		if seen.Bad() > 0 || seen.Longest > m.Report.Gap.Std()+slack {
			s.Errorf("to %s, gap %v: %+v", node, m.Report.Gap.Std(), seen)
		}
	}
}

// slack is of a machine with other work, and less than the second after which a client asks again.
const slack = 500 * time.Millisecond

// TestClientsThatSayNothingAreToldOfAMove: one that only listens, through any node, connects anew while its application moves, and
// what it then has is as good. Docker makes the kernel forget connections when a container comes on the target and when it goes from the source.
func TestClientsThatSayNothingAreToldOfAMove(t *testing.T) {
	s := enter(t)
	var all []*listener
	for _, address := range append(s.Everywhere(6379), s.Everywhere6(6379)...) {
		l := &listener{address: address}
		s.must(l.connect(s.ctx))
		defer func() { s.must(l.connection.Close()) }()
		all = append(all, l)
	}
	home, others := s.home("redis"), s.others("redis")
	for _, node := range []string{others[0], others[1], home} {
		ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
		var listening errgroup.Group
		for _, l := range all {
			listening.Go(func() error { return l.again(ctx) })
		}
		began := time.Now()
		m := s.moved("redis", node)
		ended := time.AfterFunc(slack, cancel) // they have heard of the end of their connections while the move went on
		err := listening.Wait()
		ended.Stop()
		cancel()
		if err != nil {
			s.Fatalf("while redis moved to %s: %v", node, err)
		}
		last := slices.MaxFunc(all, func(a, b *listener) int { return a.told.Compare(b.told) })
		s.Logf("to %s: gap %v, the last of %d knew %v after the move began, at %s", node, m.Report.Gap.Std(), len(all), last.told.Sub(began), last.address)
	}
}

// listener is a client that listens to what is published, and says nothing after that.
type listener struct {
	address    string
	connection net.Conn
	told       time.Time // when it last heard of the end of a connection
}

func (l *listener) connect(ctx context.Context) (err error) {
	if l.connection, err = new(net.Dialer).DialContext(ctx, "tcp", l.address); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// The answer shows that it is the application that has the connection.
	if _, err := l.connection.Write([]byte("SUBSCRIBE news\r\n")); err != nil {
		return fmt.Errorf("subscribe at %s: %w", l.address, err)
	}
	if err := l.read(ctx, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"); err != nil {
		return fmt.Errorf("subscribe at %s: %w", l.address, err)
	}
	return nil
}

// read reads so much, until ctx ends.
func (l *listener) read(ctx context.Context, answer string) error {
	end := context.AfterFunc(ctx, func() { _ = l.connection.SetReadDeadline(time.Unix(1, 0)) }) // one that is closed needs none
	defer end()
	_, err := io.ReadFull(l.connection, make([]byte, len(answer)))
	return err
}

// again waits until it hears of the end of its connection, and connects anew at once.
func (l *listener) again(ctx context.Context) error {
	if err := l.read(ctx, "?"); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("a client that listens at %s does not know", l.address)
	}
	l.told = time.Now()
	if err := l.connection.Close(); err != nil {
		return err
	}
	return l.connect(ctx)
}

// TestHeldConnectionsOutliveTheAgentOfTheTarget: it dies with the application in its hands, and goes on with it.
func TestHeldConnectionsOutliveTheAgentOfTheTarget(t *testing.T) {
	s := enter(t)
	clients := &load.Connector{Addresses: s.Everywhere(6379), PerSecond: 50, Within: 40 * time.Second}
	clients.Start(s.ctx)
	defer clients.Stop()
	target := s.others("redis")[0]
	s.must(s.Drill(s.ctx, target, "before:resume"))
	began := time.Now()
	m := s.ended(s.begin("redis", target))
	s.settled()
	seen := clients.Since(began)
	s.Logf("the move is %s: %s; %d connections, the longest wait %v", m.Phase, m.Reason, seen.Attempts, seen.Longest)
	if seen.Bad() > 0 {
		s.Errorf("%+v", seen)
	}
}

// TestHeldConnectionsOfATakenBackMoveAreServedBySource: the target's agent is away with the application in its hands.
func TestHeldConnectionsOfATakenBackMoveAreServedBySource(t *testing.T) {
	s := enter(t)
	clients := &load.Connector{Addresses: s.Everywhere(6379), PerSecond: 50, Within: 40 * time.Second}
	clients.Start(s.ctx)
	defer clients.Stop()
	target := s.others("redis")[0]
	dev := func(args ...string) {
		t.Helper()
		_, err := s.Dev(s.ctx, args...)
		s.must(err)
	}
	s.must(s.Drill(s.ctx, target, "before:resume"))
	dev("hold", target, "agent")
	began := time.Now()
	m := s.begin("redis", target)
	_, err := s.WaitMove(s.ctx, m.ID, "to be handed over", func(m api.MoveInfo) bool { return m.Phase == cluster.MoveHandedOver })
	s.must(err)
	_, err = s.Flocker(s.ctx, "moves", "take-back", string(m.ID))
	s.must(err)
	dev("release", target, "agent")
	m = s.ended(m)
	seen := clients.Since(began)
	s.Logf("the move is %s: %s; %d connections, the longest wait %v", m.Phase, m.Reason, seen.Attempts, seen.Longest)
	if m.Phase != cluster.MoveTakenBack || seen.Bad() > 0 {
		s.Errorf("the move is %s; %+v", m.Phase, seen)
	}
}

// TestNamesAndLinksStayTheSame: an application finds another by name and at the service address, wherever either is.
func TestNamesAndLinksStayTheSame(t *testing.T) {
	s := enter(t)
	for range 2 {
		home := s.home("postgres")
		for _, name := range []string{"redis", "postgres"} {
			a, err := s.Application(s.ctx, name)
			s.must(err)
			// As clients ask; "getent hosts" asks for IPv6 alone first, and Docker's own name server answers.
			if found := s.inside(home, "postgres", "getent", "ahosts", name); !strings.HasPrefix(found, a.Address+" ") {
				s.Errorf("%s is known on %s as %q, and its address is %s", name, home, found, a.Address)
			}
		}
		s.inside(home, "postgres", "bash", "-c", "exec 3<>/dev/tcp/redis/6379 && echo PING >&3 && head -c 5 <&3 | grep -q PONG")
		s.moved("postgres", s.others("postgres")[0])
	}
}

// TestLeaveLeavesNothing: the host's network is as before Flocker, and the node can come back.
func TestLeaveLeavesNothing(t *testing.T) {
	s := enter(t)
	node := s.others("redis")[0]
	if s.home("postgres") == node {
		node = s.others("redis")[1]
	}
	dev := func(args ...string) {
		t.Helper()
		_, err := s.Dev(s.ctx, args...)
		s.must(err)
	}
	if _, err := s.Exec(s.ctx, node, "flocker", "leave"); err == nil || !strings.Contains(err.Error(), "agent of this host runs") {
		s.Errorf("leave while the agent runs = %v", err)
	}
	dev("hold", node, "agent")
	dev("kill", node, "agent")
	for range 2 { // again is success
		if out, err := s.Exec(s.ctx, node, "flocker", "leave"); err != nil {
			s.Fatalf("leave: %v\n%s", err, out)
		}
	}
	left := s.onNode(node, `{ nft list ruleset; iptables-save; ip -o link; ip rule; ip route show table all; docker network ls; docker images; } 2>&1 |
		grep -iE 'flocker|5358|10\.144|0x1000' || true`)
	if left = strings.TrimSpace(left); left != "" {
		s.Errorf("left behind on %s:\n%s", node, left)
	}
	dev("release", node, "agent")
	s.settled()
	for _, address := range s.Everywhere(6379) {
		s.must(s.Until(s.ctx, "redis to answer at "+address, func() (bool, error) {
			conn, err := new(net.Dialer).DialContext(s.ctx, "tcp", address)
			if err != nil {
				return false, err
			}
			return true, conn.Close()
		}))
	}
}
