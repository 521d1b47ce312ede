// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/test/load"
)

const (
	copyPort = 7013
	password = "lab" // of the database that is copied
)

// TestCopyBetweenBackEnds copies PostgreSQL's data to network storage while it is written, with the agent killed on the way, and runs another
// server on the copy: what that has is what was acknowledged up to one instant, and nothing is missing before it.
func TestCopyBetweenBackEnds(t *testing.T) {
	s := copies(t)
	home := s.home("postgres")
	w := site.databases.Writers["postgres"]
	s.must(w.WaitFor(s.ctx, settle))
	before := w.Count()
	var d cluster.Dataset
	s.must(s.JSON(s.ctx, &d, "dataset", "copy", "postgres-data", "postgres-copy", "--backend", sharedEnd, "--size", "2G", "--no-wait"))
	s.killWhileCopying(home, d.Name)
	s.settled()
	s.must(w.WaitFor(s.ctx, settle))

	s.deploy(home, "pgcopy", `
image: postgres:17
environment: {POSTGRES_PASSWORD: `+password+`}
ports: [{internal: 5432, external: 7013}]
volumes: [{dataset: postgres-copy, mountpoint: /var/lib/postgresql/data}]
`)
	s.settled()
	after := w.Count()
	if got := s.inside(home, "pgcopy", "stat", "-f", "-c", "%T", "/var/lib/postgresql/data"); got != volumesAre {
		t.Errorf("the copy is on %s; want %s, a volume of network storage", got, volumesAre)
	}
	records := s.records(home)
	slices.Sort(records)
	if n := len(records); n < before || n > after+1 {
		t.Errorf("the copy has %d records; %d were acknowledged before it was asked for, and %d when it was whole", n, before, after)
	}
	for i, n := range records {
		if n != int64(i+1) {
			t.Fatalf("record %d of the copy is %d: not what there was at one instant", i+1, n)
		}
	}
	t.Logf("%d records acknowledged before, %d in the copy, %d after", before, len(records), after)
	if got := s.inside(home, "pgcopy", "psql", "-U", "postgres", "-Atc", "select count(*) from pgbench_accounts"); got != "400000" {
		t.Errorf("the copy has %s accounts; want 400000", got)
	}
	s.copiesBack(home)
	var left []api.DatasetInfo
	s.must(s.JSON(s.ctx, &left, "dataset", "ls"))
	for _, d := range left {
		if d.CopyFor != "" || d.Name == "postgres-data" && len(d.Snapshots) > 0 {
			t.Errorf("%s is left, with snapshots %+v", d.Name, d.Snapshots)
		}
	}
}

// copiesBack copies what is in network storage, with a server on it, to the nodes' own, where that storage takes snapshots.
func (s *stage) copiesBack(node string) {
	s.T.Helper()
	var of api.DatasetInfo
	s.must(s.JSON(s.ctx, &of, "dataset", "inspect", "postgres-data"))
	var all []api.NodeInfo
	s.must(s.JSON(s.ctx, &all, "node", "ls"))
	if can := all[0].Further[sharedEnd].Capabilities; !can.Snapshots {
		said := s.refused("dataset", "copy", "postgres-copy", "back", "--backend", of.Backend)
		if can.NoSnapshots == "" || !strings.Contains(said, can.NoSnapshots) {
			s.T.Errorf("storage that takes no snapshots (%q) refuses a copy with %s", can.NoSnapshots, said)
		}
		s.T.Logf("not copied back: %s", said)
		return
	}
	var d cluster.Dataset
	s.must(s.JSON(s.ctx, &d, "dataset", "copy", "postgres-copy", "back", "--backend", of.Backend))
	s.settled()
	look := "cd %s/data && find . -type f ! -path './pg_wal/*' -name '[0-9]*' -path './base/*' | wc -l; stat -c %u:%g:%a .; cat PG_VERSION"
	was := s.onNode(node, strings.ReplaceAll(look, "%s", "/flocker/"+string(of.ID)))
	if is := s.onNode(node, strings.ReplaceAll(look, "%s", "/flocker/"+string(d.ID))); is != was {
		s.T.Errorf("what was copied back is %s; what it was once copied from %s", is, was)
	}
	_, err := s.Flocker(s.ctx, "dataset", "rm", "back")
	s.must(err)
	s.settled()
}

// killWhileCopying kills the agent once files are being copied.
func (s *stage) killWhileCopying(node, name string) {
	s.T.Helper()
	var d api.DatasetInfo
	s.must(s.Until(s.ctx, "the files are being copied", func() (bool, error) {
		err := s.JSON(s.ctx, &d, "dataset", "inspect", name)
		return err == nil && (d.Born || len(d.Pending) > 0 && strings.Contains(d.Pending[0].Reason, "its files are being copied")), err
	}))
	if d.Born {
		s.T.Errorf("the copy was whole before the agent could be killed")
	}
	s.must(s.Kill(s.ctx, node, "agent"))
	s.must(s.WaitAlive(s.ctx, nodes))
}

// records are those that the server on the copy has.
func (s *stage) records(node string) []int64 {
	s.T.Helper()
	address := s.Everywhere(copyPort)[slices.Index(s.NodeNames(), node)]
	var c load.Connection
	s.must(s.Until(s.ctx, "the server on the copy to answer", func() (ok bool, err error) {
		c, err = load.Postgres{Password: password}.Connect(s.ctx, address)
		return err == nil, err
	}))
	all, err := c.All(s.ctx)
	s.must(err)
	s.must(c.Close())
	return all
}
