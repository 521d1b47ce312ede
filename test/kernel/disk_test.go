// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

const (
	configFile = "/etc/flocker/agent.yml"
	// fillPool leaves so many MiB of a node's pool.
	fillPool  = `fallocate -l $(($(df --output=avail -BM /var/lib/flocker/pool | tail -1 | tr -d " M") - $0))M /var/lib/flocker/pool/spoil && sync`
	emptyPool = "rm -f /var/lib/flocker/pool/spoil && sync"
)

// TestDiskOfTarget moves to a node whose pool is too small: refused when that is known ahead, aborted when it fills
// on the way. Neither stops anything, and no half copy stays.
func TestDiskOfTarget(t *testing.T) {
	if with := os.Getenv(backend); with != "" && with != "btrfs" {
		t.Skip("bounds a pool that the agent makes, and this cluster has " + with)
	}
	s := copies(t)
	s.ballast("node1", "bulk", 7007, 100)
	before := s.container("bulk", "node1")
	s.poolLimit("node2", "1G")
	s.T.Cleanup(func() { s.onNode("node2", emptyPool) })

	s.onNode("node2", fillPool, "150")
	s.dryRun("bulk", "node2", func(r api.PreflightReport) bool { return !r.OK() })
	s.refusal("bulk", "node2", "space", "free", "needed", "node2")
	s.onNode("node2", emptyPool)

	s.dryRun("bulk", "node2", api.PreflightReport.OK)
	m := s.begin("bulk", "node2", "--bandwidth", "10MB")
	s.copying(m)
	s.onNode("node2", fillPool, "20")
	m = s.ended(m)
	if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "space") {
		s.Errorf("a move to a node whose disk filled is %s: %s", m.Phase, m.Reason)
	}
	a, err := s.Application(s.ctx, "bulk")
	s.must(err)
	if left := s.onNode("node2", "find /var/lib/flocker/pool -path '*"+string(a.Volumes[0].Dataset)+"*' -name ballast"); left != "" {
		s.Errorf("a half copy stays: %s", left)
	}
	if after := s.container("bulk", "node1"); after != before {
		s.Errorf("the container was touched: %s, before %s", after, before)
	}
}

// dryRun asks for a dry run until it says what it should: sizes and room are counted only now and then.
func (s *stage) dryRun(app, node string, is func(api.PreflightReport) bool) {
	s.T.Helper()
	s.must(s.Until(s.ctx, "the dry run's answer", func() (bool, error) {
		var report api.PreflightReport
		err := s.JSON(s.ctx, &report, "move", app, node, "--dry-run")
		return len(report.Checks) > 0 && is(report), errors.Join(err, fmt.Errorf("it says %+v", report))
	}))
}

// onNode runs a script on a node.
func (s *stage) onNode(node, script string, args ...string) string {
	s.T.Helper()
	out, err := s.Exec(s.ctx, node, append([]string{"sh", "-c", script}, args...)...)
	s.must(err)
	return strings.TrimSpace(string(out))
}

// poolLimit bounds a node's pool until the end of the test.
func (s *stage) poolLimit(node, limit string) {
	s.T.Helper()
	s.onNode(node, "cp -p "+configFile+" /tmp/agent.yml && sed -i 's/^  backend: btrfs/&\\n  limit: "+limit+"/' "+configFile)
	s.must(s.Kill(s.ctx, node, "agent"))
	s.T.Cleanup(func() {
		s.onNode(node, "cp -p /tmp/agent.yml "+configFile)
		s.must(s.Kill(s.ctx, node, "agent"))
		s.roomOf(node, func(total int64) bool { return total > 2<<30 })
	})
	s.roomOf(node, func(total int64) bool { return total <= 3<<30 }) // with what a pool keeps to get out of being full
	s.settled()
}

// roomOf waits until a node's pool is as large as it should be.
func (s *stage) roomOf(node string, is func(total int64) bool) {
	s.T.Helper()
	s.must(s.Until(s.ctx, "the pool of "+node+" to have another limit", func() (bool, error) {
		status, err := s.Status(s.ctx)
		return slices.ContainsFunc(status.Nodes, func(n api.NodeInfo) bool { return n.Name == node && n.IsAlive && is(n.Storage.Total) }), err
	}))
}
