// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"os"
	"testing"
	"time"

	"github.com/flocker-project/flocker/test/load"
)

// onVolumes enters a cluster on network storage.
func onVolumes(t *testing.T) *stage {
	t.Helper()
	if os.Getenv(backend) == "" {
		t.Skip("needs network storage: FLOCKER_BACKEND=loopback, which make test runs too")
	}
	return enter(t)
}

// copies leaves a test of what is copied to clusters that copy.
func copies(t *testing.T) *stage {
	t.Helper()
	if os.Getenv(backend) != "" {
		t.Skip("is about copies of peer-to-peer storage, and this cluster has " + os.Getenv(backend))
	}
	return enter(t)
}

// TestFailOverOfAVolume takes a volume over from a node that is off. Nothing is lost, and the node that comes back serves
// and writes nothing.
func TestFailOverOfAVolume(t *testing.T) {
	s := onVolumes(t)
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
	s.moved("spare", "node2") // which brings the image there
	s.must(w.WaitFor(s.ctx, settle))
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
	s.refused("node", "fail-over", "spare", "--to", "node1") // nobody has said that it is off
	_, err = s.Flocker(s.ctx, "node", "fence", "node2", "--yes-it-is-off")
	s.must(err)
	began := time.Now()
	_, err = s.Flocker(s.ctx, "node", "fail-over", "spare", "--to", "node1")
	s.must(err)
	s.must(w.WaitFor(s.ctx, settle))
	s.Logf("serves on node1 %v after the fail-over", time.Since(began))
	s.must(s.PowerOn(s.ctx, "node2"))
	s.settled()
	if home := s.home("spare"); home != "node1" {
		s.Errorf("spare is on %s, want node1", home)
	}
	s.must(w.WaitFor(s.ctx, settle))
	s.moved("spare", "node2")
	s.must(w.WaitFor(s.ctx, settle))
	v, err := w.Stop(s.ctx)
	s.must(err)
	s.Logf("%+v", v)
	if v.Lost > 0 || v.Duplicated > 0 {
		s.Errorf("%+v: nothing may be lost", v)
	}
}
