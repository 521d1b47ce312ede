// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// holding reports that a node has mounted a dataset on storage that can do so much.
func (s *stage) holding(node string, c cluster.Copy, can cluster.Capabilities) {
	s.t.Helper()
	d := s.dataset(string(c.Dataset))
	c.Dataset, c.Head, c.Epoch, c.Mounted = d.ID, true, d.Epoch, "/flocker/"+string(d.ID)
	s.report(node, cluster.Observed{
		Storage: cluster.Storage{Backend: "test", Capabilities: can}, Copies: map[cluster.DatasetID]cluster.Copy{d.ID: c},
	})
}

func TestALimitThatStorageCannotHaveIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	const gib = int64(1 << 30)
	disks := cluster.Capabilities{Replicates: true, Snapshots: true, Resizes: true}
	volumes := cluster.Capabilities{Attaches: true, Resizes: true}
	for _, c := range []struct {
		name string
		can  cluster.Capabilities
		size int64
		says string // empty: it is done
	}{
		{"larger", disks, 9 * gib, ""},
		{"smaller, above what is used", disks, 3 * gib, ""},
		{"none", disks, 0, ""},
		{"smaller than what is used", disks, gib, "2 GiB of it are in use"},
		{"a larger volume", volumes, 9 * gib, ""},
		{"a smaller volume", volumes, 3 * gib, "never becomes smaller"},
		{"a volume without a limit", volumes, 0, "always has a limit"},
		{"storage that cannot", cluster.Capabilities{Attaches: true}, 9 * gib, "cannot change a dataset's size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "a")
			s.deploy("db", "a")
			first := 4 * gib
			if err := second(s.service.ChangeDataset(t.Context(), "test", "db", api.DatasetChange{Size: &first})); err != nil {
				t.Fatal(err)
			}
			s.holding("a", cluster.Copy{Dataset: "db", Size: 4 * gib, Used: 2 * gib}, c.can)
			was := s.dataset("db").Size
			_, err := s.service.ChangeDataset(t.Context(), "test", "db", api.DatasetChange{Size: &c.size})
			now := s.dataset("db").Size
			switch {
			case c.says == "" && (err != nil || now != c.size):
				t.Errorf("got %v, and a limit of %d", err, now)
			case c.says != "":
				wantError(t, err, cluster.ErrPrecondition)
				if !strings.Contains(err.Error(), c.says) || now != was {
					t.Errorf("got %v, and a limit of %d, was %d", err, now, was)
				}
			}
		})
	}
}
