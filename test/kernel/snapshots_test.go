// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// notebook writes numbers to both its datasets, one after the other, without end.
const notebook = `
image: redis:8
command: [sh, -c, "i=$(tail -n 1 /one/log 2>/dev/null || echo 0); while :; do i=$((i+1)); echo $i >> /one/log; echo $i >> /two/log; sleep 0.002; done"]
ready_when_running: true
stop_timeout: 1s
volumes:
  - {dataset: notes-one, mountpoint: /one, size: 100M}
  - {dataset: notes-two, mountpoint: /two}
`

// TestSnapshotsUnderWrites takes snapshots of one instant while an application writes, enlarges a dataset, goes back, and moves with
// all of it.
func TestSnapshotsUnderWrites(t *testing.T) {
	s := copies(t)
	s.deploy("node1", "notes", notebook)
	s.settled()
	for i := range 3 {
		one, two := s.together("notes", fmt.Sprintf("round-%d", i))
		a, b := s.lastNumber("node1", one), s.lastNumber("node1", two)
		if a < b || a > b+1 || b == 0 {
			t.Errorf("round %d: the last numbers are %d and %d: not one instant", i, a, b)
		}
	}

	s.grows("notes", "notes-one")
	s.clones("node1", "notes-one", "round-1")
	s.inside("node1", "notes", "sh", "-c", "echo later > /one/marker && sync")
	before := s.sum("node1", s.kept("notes-one", "round-0"))
	back := s.backTo("notes-one", "round-0")
	if got := s.inside("node1", "notes", "sh", "-c", "ls /one"); got != "log" {
		t.Errorf("after the rollback there is %q in /one", got)
	}

	s.moved("notes", "node2")
	s.settled()
	for _, name := range []string{"round-0", "round-1", "round-2", back} {
		if k := s.kept("notes-one", name); len(k.Nodes) == 0 || k.Nodes[0] != "node2" {
			t.Errorf("after the move snapshot %s is on %v", name, k.Nodes)
		}
	}
	if after := s.sum("node2", s.kept("notes-one", "round-0")); after != before {
		t.Errorf("snapshot round-0 has another content on node2: %s, was %s", after, before)
	}
	s.backTo("notes-one", back)
	if got := s.inside("node2", "notes", "cat", "/one/marker"); got != "later" {
		t.Errorf("what was kept before the rollback is not back: %q", got)
	}
	s.moved("notes", "node1")
	_, err := s.Flocker(s.ctx, "snapshot", "rm", "notes-one", "round-1")
	s.must(err)
	s.settled()
}

// together takes snapshots of both datasets at one instant.
func (s *stage) together(app, name string) (one, two api.SnapshotInfo) {
	s.T.Helper()
	var infos []api.SnapshotInfo
	s.must(s.JSON(s.ctx, &infos, "snapshot", "create", "--application", app, name))
	if len(infos) != 2 {
		s.T.Fatalf("%d snapshots; want 2", len(infos))
	}
	return infos[0], infos[1]
}

// kept is a snapshot as it is listed.
func (s *stage) kept(dataset, name string) api.SnapshotInfo {
	s.T.Helper()
	var infos []api.SnapshotInfo
	s.must(s.JSON(s.ctx, &infos, "snapshot", "ls", dataset))
	for _, k := range infos {
		if k.Name == name {
			return k
		}
	}
	s.T.Fatalf("snapshot %s of dataset %s is not listed: %+v", name, dataset, infos)
	return api.SnapshotInfo{}
}

// folder is where a node has a snapshot's data.
func folder(k api.SnapshotInfo) string {
	return "/var/lib/flocker/pool/flocker/datasets/" + string(k.Dataset) + "/" + k.Taken.Name + "/data"
}

func (s *stage) lastNumber(node string, k api.SnapshotInfo) int {
	s.T.Helper()
	n, err := strconv.Atoi(s.onNode(node, "tail -n 1 "+folder(k)+"/log"))
	s.must(err)
	return n
}

func (s *stage) sum(node string, k api.SnapshotInfo) string {
	s.T.Helper()
	sum, _, _ := strings.Cut(s.onNode(node, "sha256sum "+folder(k)+"/log"), " ")
	return sum
}

// grows fills a dataset to its limit, enlarges it while it is written to, and fills it further; it does not become smaller than what
// is in it.
func (s *stage) grows(app, dataset string) {
	s.T.Helper()
	fill := "head -c 150M /dev/zero > /one/fill && sync"
	if out, err := s.Exec(s.ctx, s.home(app), "docker", "exec", "flocker--"+app, "sh", "-c", fill); err == nil {
		s.T.Errorf("150 MiB went into a dataset with a limit of 100 MiB: %s", out)
	}
	s.inside(s.home(app), app, "rm", "-f", "/one/fill")
	_, err := s.Flocker(s.ctx, "dataset", "resize", dataset, "400M")
	s.must(err)
	s.settled()
	s.inside(s.home(app), app, "sh", "-c", fill)
	_, err = s.Flocker(s.ctx, "dataset", "resize", dataset, "500M") // its agent looks at what is in use
	s.must(err)
	s.settled()
	if _, err := s.Flocker(s.ctx, "dataset", "resize", dataset, "100M"); err == nil || !strings.Contains(err.Error(), "are in use") {
		s.T.Errorf("a limit below what is in use: %v", err)
	}
	s.inside(s.home(app), app, "rm", "-f", "/one/fill")
}

// clones makes a dataset of a snapshot, writes to it, and sees that neither touches the other.
func (s *stage) clones(node, dataset, snapshot string) {
	s.T.Helper()
	var d cluster.Dataset
	s.must(s.JSON(s.ctx, &d, "dataset", "clone", dataset, "notes-copy", "--from-snapshot", snapshot))
	s.settled()
	of := s.kept(dataset, snapshot)
	before, log := s.sum(node, of), "/flocker/"+string(d.ID)+"/data/log"
	if sum, _, _ := strings.Cut(s.onNode(node, "sha256sum "+log), " "); sum != before || d.Size != 500<<20 {
		s.T.Errorf("the clone has content %s and a limit of %d; want %s, and that of its origin", sum, d.Size, before)
	}
	s.onNode(node, "echo changed > "+log+" && sync")
	if after := s.sum(node, of); after != before {
		s.T.Errorf("writing to a clone changed its snapshot: %s, was %s", after, before)
	}
	_, err := s.Flocker(s.ctx, "dataset", "rm", "notes-copy")
	s.must(err)
	s.settled()
}

// backTo rolls a dataset back and returns the name of the snapshot that keeps what it was before.
func (s *stage) backTo(dataset, snapshot string) string {
	s.T.Helper()
	var reply api.RollbackReply
	s.must(s.JSON(s.ctx, &reply, "snapshot", "rollback", dataset, snapshot, "--yes"))
	s.settled()
	return reply.Kept.Name
}
