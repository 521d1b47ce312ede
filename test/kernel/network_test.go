// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/load"
)

// TestNoConnectionIsRefusedWhileItsApplicationMoves: new connections through any node wait for the application, and
// none is lost into the second after which a client asks again. Established ones are told, so that their clients connect anew.
func TestNoConnectionIsRefusedWhileItsApplicationMoves(t *testing.T) {
	s := enter(t)
	const slack = 500 * time.Millisecond // of a machine with other work, and less than that second
	clients := &load.Connector{Addresses: s.Everywhere(6379), PerSecond: 200, Within: 20 * time.Second}
	clients.Start(s.ctx)
	defer clients.Stop()
	home, others := s.home("redis"), s.others("redis")
	for _, node := range []string{others[0], others[1], home} {
		var idle []net.Conn
		for i, address := range s.Everywhere(6379) {
			if s.NodeNames()[i] == node {
				continue // Docker forgets connections to the address when the container is made ahead: told when they speak
			}
			c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(s.ctx, "tcp", address)
			s.must(err)
			idle = append(idle, c)
		}
		began := time.Now()
		m := s.moved("redis", node)
		for _, c := range idle {
			s.must(c.SetReadDeadline(time.Now().Add(slack)))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				s.Errorf("an idle connection to %s was not told that its application moved to %s", c.RemoteAddr(), node)
			}
			s.must(c.Close())
		}
		seen := clients.Since(began)
		s.Logf("to %s: gap %v, %d connections, the longest wait %v", node, m.Report.Gap.Std(), seen.Attempts, seen.Longest)
		if seen.Bad() > 0 || seen.Longest > m.Report.Gap.Std()+slack {
			s.Errorf("to %s, gap %v: %+v", node, m.Report.Gap.Std(), seen)
		}
	}
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
