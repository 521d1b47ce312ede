// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"cmp"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

const gib = int64(1 << 30)

// ends is a node with network storage beside its own.
func ends() cluster.Observed {
	return cluster.Observed{
		Storage: cluster.Storage{Backend: "test", Capabilities: disks(), Profiles: []cluster.Profile{{Name: "gold"}}, Total: 100 * gib, Free: 50 * gib},
		Further: map[string]cluster.Storage{
			"store": {Backend: "store", Capabilities: cluster.Capabilities{Attaches: true}, Profiles: []cluster.Profile{{Name: "fast"}}},
			"small": {Backend: "small", Capabilities: disks(), Total: 2 * gib, Free: gib},
			"sick":  {Backend: "sick", Error: "no answer"},
		},
		Copies: map[cluster.DatasetID]cluster.Copy{},
	}
}

// twoEnds is a stage with a dataset of 3 GiB on node a, and a snapshot of it.
func twoEnds(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, "a", "b")
	s.report("a", ends())
	s.report("b", ends())
	s.deploy("db", "a")
	s.with("a", cluster.Copy{Dataset: s.dataset("db").ID, Head: true, Epoch: 1, Mounted: "/flocker/db", Used: 3 * gib})
	return s
}

func (s *stage) with(node string, copies ...cluster.Copy) {
	s.t.Helper()
	o := ends()
	o.Revision = 1 << 40 // it has acted on all there is
	for _, c := range copies {
		c.Backend = cmp.Or(c.Backend, "test") // as agents say; else it could be in the one that does not answer
		o.Copies[c.Dataset] = c
	}
	s.report(node, o)
}

func (s *stage) copyTo(end string, change func(*api.CopyRequest)) (cluster.Dataset, error) {
	r := api.CopyRequest{Name: "copy", Backend: end}
	change(&r)
	return s.service.CopyDataset(s.t.Context(), "test", "db", r)
}

func asItIs(*api.CopyRequest) {}

func TestACopyIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	s := twoEnds(t)
	for name, c := range map[string]struct {
		end    string
		change func(*api.CopyRequest)
		want   error
		says   string
	}{
		"no back end":            {"", asItIs, cluster.ErrInvalid, "is missing: name another back end than test"},
		"its own back end":       {"test", asItIs, cluster.ErrInvalid, `"flocker dataset clone"`},
		"one that there is not":  {"tape", asItIs, cluster.ErrPrecondition, `node a has no back end "tape": there are test`},
		"one that does not work": {"sick", asItIs, cluster.ErrPrecondition, "back end sick of node a: no answer"},
		"one that is full":       {"small", asItIs, cluster.ErrPrecondition, "3 GiB of it are in use, and back end small of node a has room for 1 GiB"},
		"too small":              {"store", func(r *api.CopyRequest) { r.Size = 2 * gib }, cluster.ErrPrecondition, "3 GiB of it are in use, which is more than 2 GiB; give the copy more"},
		"less than nothing":      {"store", func(r *api.CopyRequest) { r.Size = -1 }, cluster.ErrInvalid, "is negative"},
		"no such profile":        {"store", func(r *api.CopyRequest) { r.Profile = "gold" }, cluster.ErrPrecondition, `back end store of node a has no profile "gold"`},
		"a name in use":          {"store", func(r *api.CopyRequest) { r.Name = "db" }, cluster.ErrExists, `"db" is in use`},
		"no name":                {"store", func(r *api.CopyRequest) { r.Name = "" }, cluster.ErrInvalid, "name"},
		"no such snapshot":       {"store", func(r *api.CopyRequest) { r.Snapshot = "x" }, cluster.ErrNotFound, `snapshot "x"`},
		"another node":           {"store", func(r *api.CopyRequest) { r.Node = "b" }, cluster.ErrPrecondition, "copy it there, and then move the copy to b (flocker dataset move copy b)"},
		"no such node":           {"store", func(r *api.CopyRequest) { r.Node = "nowhere" }, cluster.ErrNotFound, "nowhere"},
	} {
		_, err := s.copyTo(c.end, c.change)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want …%s…", name, err, c.says)
			continue
		}
		wantError(t, err, c.want)
	}
	if all, err := s.service.ListDatasets(t.Context()); err != nil || len(all) != 1 || len(all[0].Snapshots) > 0 {
		t.Errorf("what was refused has left %+v, %v", all, err)
	}
	s.move("db", "b")
	_, err := s.copyTo("store", asItIs)
	wantError(t, err, cluster.ErrConflict)
}

func TestStorageWithoutSnapshotsIsNoSourceOfACopy(t *testing.T) {
	t.Parallel()
	s := twoEnds(t)
	o := ends()
	o.Storage.Capabilities = cluster.Capabilities{Attaches: true, NoSnapshots: "its folder shares no blocks"}
	o.Copies[s.dataset("db").ID] = cluster.Copy{Dataset: s.dataset("db").ID, Head: true, Epoch: 1, Used: 3 * gib}
	s.report("a", o)
	_, err := s.copyTo("store", asItIs)
	wantError(t, err, cluster.ErrPrecondition)
	if !strings.Contains(err.Error(), "takes no snapshots (its folder shares no blocks)") {
		t.Errorf("got %v", err)
	}
}

func TestWhatHasNoDataYetIsNotCopied(t *testing.T) {
	t.Parallel()
	s := newStage(t, "a")
	s.report("a", ends())
	s.deploy("db", "a")
	_, err := s.copyTo("store", asItIs)
	wantError(t, err, cluster.ErrConflict)
}

func TestTheSizeAndTheProfileOfACopy(t *testing.T) {
	t.Parallel()
	s := twoEnds(t)
	for name, c := range map[string]struct {
		end    string
		change func(*api.CopyRequest)
		want   int64
	}{
		"a store needs one":    {"store", asItIs, 6 * gib},
		"it is given":          {"store", func(r *api.CopyRequest) { r.Size = 4 * gib }, 4 * gib},
		"with the key of 1.x":  {"store", func(r *api.CopyRequest) { r.Metadata = map[string]string{cluster.ProfileKey: "fast"} }, 6 * gib},
		"and with the profile": {"store", func(r *api.CopyRequest) { r.Profile = "fast" }, 6 * gib},
	} {
		d, err := s.copyTo(c.end, func(r *api.CopyRequest) { r.Name = strings.ReplaceAll(name, " ", "-"); c.change(r) })
		if err != nil || d.Size != c.want {
			t.Errorf("%s: %d bytes, %v; want %d", name, d.Size, err, c.want)
		}
		if profiled := strings.HasPrefix(name, "with ") || strings.HasPrefix(name, "and "); (d.Profile == "fast") != profiled {
			t.Errorf("%s: profile %q", name, d.Profile)
		}
	}
}

// A copy is born only when what its owner has carries the epoch of its record; then what it was made by way of goes.
func TestACopyIsBornWhenItIsWhole(t *testing.T) {
	t.Parallel()
	s := twoEnds(t)
	d, err := s.copyTo("store", asItIs)
	if err != nil {
		t.Fatal(err)
	}
	via := s.dataset(string(d.Origin.Via))
	if d.Epoch != cluster.HalfEpoch+1 || d.Born || d.Backend != "store" || via.CopyFor != d.ID || via.Backend != "test" || via.Origin.Snapshot != d.Origin.Snapshot || !d.Origin.Temporary {
		t.Fatalf("the records are %+v and %+v", d, via.Dataset)
	}
	db := cluster.Copy{Dataset: s.dataset("db").ID, Head: true, Epoch: 1, Mounted: "/flocker/db", Used: 3 * gib}
	source := cluster.Copy{Dataset: via.ID, Backend: "test", Head: true, Epoch: 1, Mounted: "/flocker/via"}
	half := cluster.Copy{Dataset: d.ID, Backend: "store", Head: true, Mounted: "/flocker/half", Volume: "v", Device: "device"}
	for _, half.Epoch = range []cluster.Epoch{0, cluster.HalfEpoch} {
		s.with("a", db, source, half)
		if got := s.dataset("copy"); got.Born || got.Path != "" || s.dataset(string(via.ID)).Deleted {
			t.Fatalf("with epoch %d on its data it is %+v", half.Epoch, got)
		}
	}
	size := 9 * gib
	for what, err := range map[string]error{
		"a limit":                second(s.service.ChangeDataset(t.Context(), "test", "copy", api.DatasetChange{Size: &size})),
		"a move":                 second(s.service.CreateMove(t.Context(), "test", api.MoveRequest{Dataset: "copy", Node: "b"})),
		"an end of its source":   second(s.service.DeleteDataset(t.Context(), "test", string(via.ID))),
		"a clone of its source":  second(s.service.CloneDataset(t.Context(), "test", via.Name, api.CloneRequest{Name: "x"})),
		"a move of its source":   second(s.service.CreateMove(t.Context(), "test", api.MoveRequest{Dataset: via.Name, Node: "b"})),
		"an end of its snapshot": second(s.service.DeleteSnapshot(t.Context(), "test", "db", string(d.Origin.Snapshot))),
		"an application on its source": second(s.service.Deploy(t.Context(), "test", api.DeployRequest{
			Applications: []cluster.Application{{Name: "x", Image: "x", Node: "a", Volumes: []cluster.Volume{{Dataset: via.ID, MountPoint: "/x"}}}},
		})),
	} {
		if err == nil || !strings.Contains(err.Error(), "conflict") {
			t.Errorf("%s: %v; want a conflict", what, err)
		}
	}
	if err := second(s.service.DeleteSnapshot(t.Context(), "test", "db", string(d.Origin.Snapshot))); !strings.Contains(err.Error(), "dataset copy is being copied from it") {
		t.Errorf("the end of its snapshot is refused with %v", err)
	}
	half.Epoch = d.Epoch
	s.with("a", db, source, half)
	if got := s.dataset("copy"); !got.Born || got.Path != "/flocker/half" || !s.dataset(string(via.ID)).Deleted {
		t.Errorf("whole it is %+v, and its source %+v", got, s.dataset(string(via.ID)).Dataset)
	}
	s.with("a", db, half)
	s.with("a", db, half)
	if all, err := s.service.ListDatasets(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("at the end there are %+v, %v", all, err)
	}
}

// A copy that is removed while it is made takes its source and its snapshot with it.
func TestARemovedCopyLeavesNothing(t *testing.T) {
	t.Parallel()
	s := twoEnds(t)
	d, err := s.copyTo("store", asItIs)
	if err != nil {
		t.Fatal(err)
	}
	if err := second(s.service.DeleteDataset(t.Context(), "test", "copy")); err != nil {
		t.Fatal(err)
	}
	if via := s.dataset(string(d.Origin.Via)); !via.Deleted {
		t.Errorf("its source stays: %+v", via.Dataset)
	}
	db := cluster.Copy{Dataset: s.dataset("db").ID, Head: true, Epoch: 1, Mounted: "/flocker/db"}
	for db.Used = range int64(3) {
		s.with("a", db)
	}
	all, err := s.service.ListDatasets(t.Context())
	if err != nil || len(all) != 1 || len(all[0].Snapshots) != 0 {
		t.Errorf("there are %+v, %v; want the dataset alone", all, err)
	}
	if _, err := s.copyTo("store", asItIs); err != nil {
		t.Errorf("its name is free again: %v", err)
	}
}
