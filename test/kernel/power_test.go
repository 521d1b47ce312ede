// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/test/lab"
	"github.com/flocker-project/flocker/test/load"
)

// TestPowerLoss takes the power of the owner away; after its boot everything runs again.
func TestPowerLoss(t *testing.T) {
	s := enter(t)
	home := s.home("postgres")
	s.must(s.PowerOff(s.ctx, home))
	s.must(s.PowerOn(s.ctx, home))
	s.settled()
	if now := s.home("postgres"); now != home {
		s.Errorf("postgres was on %s, and is on %s after its boot", home, now)
	}
}

// TestPowerLossUnderWay takes the power of either end of a move away while it copies.
func TestPowerLossUnderWay(t *testing.T) {
	s := copies(t)
	s.ballast("node1", "moving", 7010, 60)
	for _, victim := range []string{"source", "target"} {
		s.scene(victim, func(s *stage) {
			home := s.home("moving")
			m := s.begin("moving", after(home), "--bandwidth", "20MB")
			s.copying(m)
			node := m.TargetName
			if victim == "source" {
				node = m.SourceName
			}
			s.must(s.PowerOff(s.ctx, node))
			s.must(s.PowerOn(s.ctx, node))
			m = s.ended(m)
			s.Logf("%s: %s", m.Phase, m.Reason)
		})
	}
}

// after is the node that an application has not been on when it goes from each to the next.
func after(node string) string {
	return map[string]string{lab.Node(1): lab.Node(2), lab.Node(2): lab.Node(3), lab.Node(3): lab.Node(1)}[node]
}

// TestFailOver takes an application over from a node that is off, on an operator's word and with consent to a loss.
func TestFailOver(t *testing.T) {
	s := copies(t)
	s.deploy("node1", "spare", `
image: redis:8
command: [sh, -c, "cp $(command -v redis-server) /tmp/side; exec /tmp/side --port 7009 --protected-mode no --appendonly yes --appendfsync always --save ''"]
ports: [{internal: 7009, external: 7009}]
volumes: [{dataset: spare-data, mountpoint: /data}]
hooks: {preset: redis}
`)
	w, err := load.Start(s.ctx, load.Redis{}, s.Everywhere(7009), pace)
	s.must(err)
	s.must(w.WaitFor(s.ctx, settle))
	s.moved("spare", "node2") // leaves a replica on node1
	safe := w.Count()
	s.must(w.WaitFor(s.ctx, settle))

	s.refused("node", "fail-over", "spare", "--to", "node1", "--max-loss", "10m") // node2 may still write
	s.must(s.PowerOff(s.ctx, "node2"))
	s.must(s.Until(s.ctx, "node2 to be given up", func() (bool, error) {
		st, err := s.Status(s.ctx)
		for _, n := range st.Nodes {
			if n.Name == "node2" {
				return !n.IsAlive, err
			}
		}
		return false, err
	}))
	s.must(s.Until(s.ctx, "clients of the dead node's application to be told", func() (bool, error) {
		c, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(s.ctx, "tcp", s.Everywhere(7009)[2])
		if err == nil {
			return false, errors.Join(errors.New("it is served"), c.Close())
		}
		return errors.Is(err, syscall.ECONNREFUSED), err
	}))
	s.refused("node", "fail-over", "spare", "--to", "node1", "--max-loss", "10m") // nobody has said that it is off
	s.refused("node", "fence", "node2")
	_, err = s.Flocker(s.ctx, "node", "fence", "node2", "--yes-it-is-off")
	s.must(err)
	s.refused("node", "fail-over", "spare", "--to", "node1", "--max-loss", "1ms")
	_, err = s.Flocker(s.ctx, "node", "fail-over", "spare", "--to", "node1", "--max-loss", "10m")
	s.must(err)
	began := time.Now()
	s.must(w.WaitFor(s.ctx, settle))
	s.Logf("serves on node1 %v after the fail-over", time.Since(began))
	s.must(s.PowerOn(s.ctx, "node2"))
	// What node2 has beyond the replica is nobody's to throw away: it is kept and shown.
	s.must(s.Until(s.ctx, "the divergent copy on node2 to be shown", func() (bool, error) {
		st, err := s.Status(s.ctx)
		return slices.ContainsFunc(st.Pending, func(p api.Pending) bool { return p.Name == "spare-data" && p.Node == "node2" }), err
	}))
	if home := s.home("spare"); home != "node1" {
		s.Errorf("spare is on %s, want node1", home)
	}
	v, err := w.Stop(s.ctx)
	s.must(err)
	s.Logf("%+v; %d were acknowledged when the replica was made", v, safe)
	if v.Acknowledged-v.Lost < safe || v.Lost > v.Acknowledged-safe {
		s.Errorf("%+v: the first %d were in the replica", v, safe)
	}
}
