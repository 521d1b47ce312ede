// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"os"
	"strings"
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
  - {dataset: mixed-blob, mountpoint: /blob, size: 64M, backend: `+sharedEnd+`, uid: 999, gid: 1000, mode: "2770"}
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
		if got := s.inside(to, "mixed", "stat", "-c", "%u:%g %a", "/blob"); got != "999:1000 2770" {
			s.Errorf("/blob on %s is %s; want it as it was asked for", to, got)
		}
		if got := s.inside(to, "mixed", "stat", "-f", "-c", "%T", "/data"); got == volumesAre {
			s.Errorf("/data on %s is %s; want the node's own storage", to, got)
		}
	}
	s.settled()
	s.wholeCount(w)
}

// ownProfiles are those of the nodes' own storage, in its words.
func ownProfiles() string {
	if os.Getenv(backend) == "zfs" {
		return "{bronze: {compression: gzip-9}}"
	}
	return "{bronze: {compression: zstd}}"
}

// TestProfilesMove moves a dataset of a profile on the nodes' own storage and one on network storage: each is kept as its profile says
// wherever it is. A profile that there is not is refused.
func TestProfilesMove(t *testing.T) {
	s := copies(t)
	if said := s.refused("dataset", "create", "other", "--node", "node1", "--profile", "silver"); !strings.Contains(said, `no profile "silver": there are bronze`) {
		s.Errorf("a profile that there is not: %s", said)
	}
	s.deploy("node1", "profiled", `
image: redis:8
command: `+side(7012)+`
volumes:
  - {dataset: profiled-data, mountpoint: /data, profile: bronze}
  - {dataset: profiled-blob, mountpoint: /blob, size: 320M, backend: `+sharedEnd+`, profile: bronze}
ready_when_running: true
`)
	kept := func(node string) {
		t.Helper()
		if got := s.inside(node, "profiled", "stat", "-f", "-c", "%T", "/blob"); got != "btrfs" {
			s.Errorf("/blob on %s is %s; want btrfs, as its profile says", node, got)
		}
		here := s.inside(node, "profiled", "sh", "-c", "date > /data/on-"+node+" && cat /data/on-node1")
		if here == "" {
			s.Errorf("/data on %s lacks what was written on node1", node)
		}
		look, want := `lsattr -d /flocker/*/data | grep -c -- '^[^ ]*c'`, "1"
		if os.Getenv(backend) == "zfs" {
			look, want = `zfs get -H -r -s local -o value compression flocker | sort -u`, "gzip-9"
		}
		if got := s.onNode(node, look); got != want {
			s.Errorf("%s on %s says %q; want %q", look, node, got, want)
		}
	}
	kept("node1")
	for _, to := range []string{"node2", "node1"} {
		s.moved("profiled", to)
		kept(to)
	}
	s.settled()
}
