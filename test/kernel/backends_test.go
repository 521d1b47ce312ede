// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"testing"

	"github.com/flocker-project/flocker/test/load"
)

const (
	mixedPort  = 7011
	volumesAre = "ext2/ext3" // what stat says of ext4
)

// TestTwoBackEnds moves a database that has one dataset on the nodes' own storage and one in network storage, under a writer.
func TestTwoBackEnds(t *testing.T) {
	s := copies(t)
	s.deploy("node1", "mixed", `
image: redis:8
command: [sh, -c, "cp $(command -v redis-server) /tmp/side; exec /tmp/side --port 7011 --protected-mode no --appendonly yes --appendfsync always --save ''"]
ports: [{internal: 7011, external: 7011}]
volumes:
  - {dataset: mixed-data, mountpoint: /data}
  - {dataset: mixed-blob, mountpoint: /blob, size: 64M, backend: `+sharedEnd+`}
hooks: {preset: redis}
`)
	w, err := load.Start(s.ctx, load.Redis{}, s.Everywhere(mixedPort), pace)
	s.must(err)
	s.must(w.WaitFor(s.ctx, settle))
	s.inside("node1", "mixed", "sh", "-c", "head -c 5M /dev/urandom > /blob/file && sync")
	sum := s.inside("node1", "mixed", "sha256sum", "/blob/file")
	for _, to := range []string{"node2", "node3", "node1"} {
		m := s.moved("mixed", to)
		s.Logf("to %s: gap %v, %d bytes", to, m.Report.Gap.Std(), m.Report.Bytes)
		s.must(w.WaitFor(s.ctx, settle))
		if now := s.inside(to, "mixed", "sha256sum", "/blob/file"); now != sum {
			s.Errorf("the file in network storage is %s on %s, and was %s", now, to, sum)
		}
		if got := s.inside(to, "mixed", "stat", "-f", "-c", "%T", "/blob"); got != volumesAre {
			s.Errorf("/blob on %s is %s; want %s, a volume of network storage", to, got, volumesAre)
		}
		if got := s.inside(to, "mixed", "stat", "-f", "-c", "%T", "/data"); got == volumesAre {
			s.Errorf("/data on %s is %s; want the node's own storage", to, got)
		}
	}
	s.settled()
	s.wholeCount(w)
}
