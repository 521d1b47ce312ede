// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/load"
)

// enter6 is enter for what needs IPv6 on this machine: without it development clusters have none.
func enter6(t *testing.T) *stage {
	t.Helper()
	s := enter(t)
	if len(s.Everywhere6(6379)) == 0 {
		t.Skip("needs IPv6, which this machine does not have, or not in a way that a development cluster would leave whole")
	}
	return s
}

// TestNoIPv6ConnectionIsRefusedWhileItsApplicationMoves: as over IPv4, through any node, and at the same time.
func TestNoIPv6ConnectionIsRefusedWhileItsApplicationMoves(t *testing.T) {
	s := enter6(t)
	before := time.Now()
	clients := map[string]*load.Connector{
		"IPv6": {Addresses: s.Everywhere6(6379), PerSecond: 150, Within: 20 * time.Second},
		"IPv4": {Addresses: s.Everywhere(6379), PerSecond: 50, Within: 20 * time.Second},
	}
	for _, c := range clients {
		c.Start(s.ctx)
		defer c.Stop()
	}
	home, others := s.home("redis"), s.others("redis")
	for _, node := range []string{others[0], others[1], home} {
		began := time.Now()
		m := s.moved("redis", node)
		gap := m.Report.Gap.Std()
		for family, c := range clients {
			seen := c.Since(began)
			s.Logf("%s to %s: gap %v, %d connections, the longest wait %v", family, node, gap, seen.Attempts, seen.Longest)
			if seen.Bad() > 0 || seen.Longest > gap+slack {
				s.must(c.Settled(s.ctx, time.Now())) // those that still wait are of interest most
				s.Errorf("%s to %s, gap %v: %+v; too long, by address: %v", family, node, gap, seen, late(c.Waits(began), gap+slack))
			}
		}
	}
	for _, c := range clients {
		c.Stop()
	}
	// Each address answered every time, not only those of the nodes on which redis was.
	served := map[string]int{}
	for _, w := range clients["IPv6"].Waits(before) {
		if w.Err == nil {
			served[w.Address]++
		}
	}
	if len(served) != len(s.Everywhere6(6379)) {
		s.Errorf("connections by address: %v", served)
	}
}

// late counts by address what took longer.
func late(waits []load.Wait, than time.Duration) map[string]int {
	all := map[string]int{}
	for _, w := range waits {
		if w.Took > than {
			all[w.Address]++
		}
	}
	return all
}

// TestAnApplicationKeepsItsIPv6Address: it goes with the IPv4 address, other applications reach it there from any node, and
// names lead to IPv4 alone.
func TestAnApplicationKeepsItsIPv6Address(t *testing.T) {
	s := enter6(t)
	redis, err := s.Application(s.ctx, "redis")
	s.must(err)
	status, err := s.Status(s.ctx)
	s.must(err)
	if want := cluster.Address6(status.Fabric.Prefix6(), netip.MustParseAddr(redis.Address)); redis.Address6 != want.String() {
		s.Fatalf("redis, at %s in %s, has %q; want %s", redis.Address, status.Fabric.Subnet6, redis.Address6, want)
	}
	for range 2 {
		home := s.home("postgres")
		s.inside(home, "postgres", "bash", "-c", "exec 3<>/dev/tcp/"+redis.Address6+"/6379 && echo PING >&3 && head -c 5 <&3 | grep -q PONG")
		for _, name := range []string{"redis", "postgres"} {
			if known := s.inside(home, "postgres", "getent", "ahosts", name); strings.Contains(known, ":") {
				s.Errorf("%s is known on %s by an IPv6 address:\n%s", name, home, known)
			}
		}
		s.moved("postgres", s.others("postgres")[0])
		s.moved("redis", s.others("redis")[0])
		again, err := s.Application(s.ctx, "redis")
		s.must(err)
		if again.Address6 != redis.Address6 {
			s.Errorf("redis had %s and has %s", redis.Address6, again.Address6)
		}
	}
}
