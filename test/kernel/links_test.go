// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// TestLinkCut cuts the link between source and target: a copy goes on when it is back, a cut-over is given up.
func TestLinkCut(t *testing.T) {
	s := copies(t)
	s.T.Cleanup(func() { s.must(s.Heal(s.ctx)) })
	s.deploy("node1", "linked", `
image: redis:8
command: [sh, -c, "cp $(command -v redis-server) /tmp/side; trap 'sleep 2; kill %1; exit 0' TERM; /tmp/side --port 7008 & wait"]
ports: [{internal: 7008, external: 7008}]
volumes: [{dataset: linked-data, mountpoint: /data}]
`)
	s.inside("node1", "linked", "sh", "-c", "head -c 60M /dev/urandom > /data/ballast && sync")

	// During the cut-over: the application takes two seconds to stop, in which the link goes.
	m := s.begin("linked", "node2")
	_, err := s.WaitMove(s.ctx, m.ID, "to cut over", func(m api.MoveInfo) bool { return m.Phase == cluster.MoveCutting || m.Phase.Terminal() })
	s.must(err)
	s.must(s.Cut(s.ctx, "node1", "node2"))
	cut := time.Now()
	m, err = s.WaitEnd(s.ctx, m.ID)
	s.must(err)
	s.must(s.Until(s.ctx, "redis to serve on the source", func() (bool, error) {
		out, err := s.Exec(s.ctx, "node1", "docker", "exec", "flocker--linked", "redis-cli", "-p", "7008", "ping")
		return err == nil && strings.Contains(string(out), "PONG"), err
	}))
	s.Logf("serves %v after the cut; %s: %s", time.Since(cut), m.Phase, m.Reason)
	if m.Phase != cluster.MoveAborted || time.Since(cut) > 15*time.Second {
		s.Errorf("the move is %s: %s; it serves again %v after the cut", m.Phase, m.Reason, time.Since(cut))
	}
	s.must(s.Heal(s.ctx))
	s.settled()

	// During the copy.
	m = s.begin("linked", "node3", "--bandwidth", "10MB")
	s.copying(m)
	s.must(s.Cut(s.ctx, "node1", "node3"))
	select {
	case <-time.After(3 * time.Second):
	case <-s.ctx.Done():
	}
	s.must(s.Heal(s.ctx))
	if m = s.ended(m); m.Phase != cluster.MoveCleaned {
		s.Errorf("a move whose link came back is %s: %s", m.Phase, m.Reason)
	}
	for _, p := range m.Report.Phases {
		if p.Name == "copy round 1" {
			s.Logf("%d bytes of a dataset of 60 MiB were sent", p.Bytes)
		}
	}
}
