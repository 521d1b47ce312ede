// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// notepads is an application that writes numbers to both its volumes, one after the other, without end.
const notepads = `
image: redis:8
command: [sh, -c, "i=$(tail -n 1 /one/log 2>/dev/null || echo 0); while :; do i=$((i+1)); echo $i >> /one/log; echo $i >> /two/log; sleep 0.002; done"]
ready_when_running: true
stop_timeout: 1s
volumes:
  - {dataset: pad-one, mountpoint: /one, size: 128M}
  - {dataset: pad-two, mountpoint: /two, size: 128M}
`

// TestSnapshotsOfVolumes takes snapshots of one instant while an application writes, clones them on either node, goes back, moves with
// all of it, and goes back there.
func TestSnapshotsOfVolumes(t *testing.T) {
	s := onVolumes(t)
	s.needsSnapshots()
	var a, b cluster.Dataset
	one := 0
	t.Cleanup(func() { // after the application and its datasets have gone
		s.settled()
		if got := s.lastIn("node1", a); got != one {
			t.Errorf("after the end of its origin the clone ends with %d; want %d", got, one)
		}
		for _, d := range []cluster.Dataset{a, b} {
			_, err := s.Flocker(s.ctx, "dataset", "rm", d.Name)
			s.must(err)
		}
		s.settled()
	})
	s.deploy("node1", "pads", notepads)
	s.settled()
	for i := range 2 {
		s.together("pads", "round-"+strconv.Itoa(i))
	}
	a, b = s.cloneOf("pad-one", "round-0", "node1"), s.cloneOf("pad-two", "round-0", "node2")
	s.settled()
	one = s.lastIn("node1", a)
	two := s.lastIn("node2", b)
	if one < two || one > two+1 || two == 0 {
		t.Errorf("the last numbers are %d and %d: not one instant", one, two)
	}

	s.inside("node1", "pads", "sh", "-c", "echo later > /one/marker && sync")
	back := s.backTo("pad-one", "round-0")
	if got := s.inside("node1", "pads", "sh", "-c", "ls /one | grep -v lost"); got != "log" {
		t.Errorf("after the rollback there is %q in /one", got)
	}
	s.moved("pads", "node2")
	s.settled()
	for _, name := range []string{"round-0", "round-1", back} {
		if k := s.kept("pad-one", name); len(k.Nodes) != 1 || k.Nodes[0] != "node2" {
			t.Errorf("after the move snapshot %s is on %v; want node2", name, k.Nodes)
		}
	}
	s.backTo("pad-one", back)
	if got := s.inside("node2", "pads", "cat", "/one/marker"); got != "later" {
		t.Errorf("what was kept before the rollback is not back: %q", got)
	}

	_, err := s.Flocker(s.ctx, "snapshot", "rm", "pad-one", "round-0")
	s.must(err)
	s.settled()
}

// needsSnapshots skips storage that has none here, which has to say why.
func (s *stage) needsSnapshots() {
	s.T.Helper()
	var nodes []api.NodeInfo
	s.must(s.JSON(s.ctx, &nodes, "node", "ls"))
	for _, on := range nodes[0].Storages() {
		if can := on.Capabilities; !can.Snapshots && can.NoSnapshots == "" {
			s.T.Errorf("storage %s has no snapshots and does not say why", on.Backend)
		} else if !can.Snapshots {
			s.T.Skipf("storage %s has no snapshots: %s", on.Backend, can.NoSnapshots)
		}
	}
}

// cloneOf makes a dataset of a snapshot on a node.
func (s *stage) cloneOf(dataset, snapshot, node string) cluster.Dataset {
	s.T.Helper()
	var d cluster.Dataset
	s.must(s.JSON(s.ctx, &d, "dataset", "clone", dataset, dataset+"-copy", "--from-snapshot", snapshot, "--node", node))
	return d
}

// lastIn is the last number in a dataset that no application uses.
func (s *stage) lastIn(node string, d cluster.Dataset) int {
	s.T.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s.onNode(node, "tail -n 1 /flocker/"+string(d.ID)+"/data/log")))
	s.must(err)
	return n
}
