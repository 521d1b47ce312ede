// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// copied asks for a copy in the node's other back end.
func (w *world) copied(from, name, snapshot string) cluster.DatasetID {
	w.t.Helper()
	d, err := w.user.CopyDataset(w.t.Context(), from, api.CopyRequest{Name: name, Backend: "shared", Snapshot: snapshot})
	if err != nil {
		w.t.Fatal(err)
	}
	return d.ID
}

func (w *world) whole(name string) {
	w.t.Helper()
	w.until("copy "+name+" is whole and mounted", func() bool {
		d, err := w.user.Dataset(w.t.Context(), name)
		return err == nil && d.Born && d.Path != ""
	})
}

// onlyThese waits until the cluster has no other datasets, and says what is left on the node.
func (w *world) onlyThese(n *node, names ...string) {
	w.t.Helper()
	w.until("only the datasets that were asked for are there", func() bool {
		all, err := w.user.Datasets(w.t.Context())
		var left []string
		for _, d := range all {
			left = append(left, d.Name)
		}
		return err == nil && slices.Equal(left, names)
	})
	own, err := n.disk.List(w.t.Context())
	volumes, errShared := n.shared.List(w.t.Context())
	if len(own)+len(volumes) != len(names) || err != nil || errShared != nil {
		w.t.Errorf("on %s there are %v and %v (%v, %v); want what belongs to %v", n.name, own, volumes, err, errShared, names)
	}
}

// A copy in another back end holds what its snapshot holds, whoever dies on the way, and until it does nobody can use it; what it was made
// by way of is gone afterwards.
func TestCopiesBetweenBackEndsWhoeverDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	w.deploy("db", n, 1, nil)
	if err := n.disk.Write(w.dataset("db-0"), "another", []byte("file")); err != nil {
		t.Fatal(err)
	}
	s := w.keep(api.SnapshotRequest{Dataset: "db-0", Name: "to"})[0]
	want, err := n.disk.SnapshotFiles(s.Dataset, s.Taken.Name)
	if err != nil || len(want) != 2 || len(want[journal]) == 0 {
		t.Fatalf("the snapshot holds %v, %v", want, err)
	}
	const away = 200 * time.Millisecond
	crash := func() { n.current().crash(away) }
	names := []string{"db-0"}
	for i, dies := range []func(){
		func() {},
		func() { n.at("clone", func() { n.at("create", crash) }) },
		func() { n.at("create", func() { n.at("mount", crash) }) },
		func() { n.at("copy-file", crash) },
		func() { n.at("copy-file", func() { n.at("copy-file", crash) }) },
		func() { n.at("copy-file", func() { n.at("set-epoch", crash) }) },
		func() { n.at("copy-file", func() { n.at("set-epoch", func() { n.at("Report", crash) }) }) },
		func() { n.at("copy-file", func() { w.service.crash(away) }) },
		func() { n.at("copy-file", func() { n.at("copy-file", n.reboot) }) },
	} {
		name := fmt.Sprintf("copy-%d", i)
		dies()
		id := w.copied("db-0", name, "to")
		w.whole(name)
		if files, err := n.shared.Disk().Files(id); err != nil || !maps.EqualFunc(files, want, slices.Equal) {
			t.Errorf("%s holds %q, %v; want %q", name, files, err, want)
		}
		if c, _ := n.copyOf(id); c.Epoch <= cluster.HalfEpoch {
			t.Errorf("%s is said to be whole and carries epoch %d", name, c.Epoch)
		}
		names = append(names, name)
		w.served("db")
	}
	w.copied("db-0", "now", "")
	w.whole("now")
	w.until("only what was asked for is kept", func() bool {
		left, err := w.user.Snapshots(t.Context(), "db-0")
		return err == nil && len(left) == 1
	})
	slices.Sort(names)
	w.onlyThese(n, slices.Sorted(slices.Values(slices.Concat(names, []string{"now"})))...)
}

// half waits until some files are copied, and no more are, and returns the copy as the user sees it.
func (w *world) half(n *node, name string) api.DatasetInfo {
	w.t.Helper()
	var d api.DatasetInfo
	w.until("some of the files of "+name+" are there", func() bool {
		var err error
		d, err = w.user.Dataset(w.t.Context(), name)
		c, _ := n.copyOf(d.ID)
		return err == nil && c.Used > 0 && len(d.Pending) > 0 && strings.Contains(d.Pending[0].Reason, "copying")
	})
	return d
}

// What is half copied nobody uses: no application starts on it, none of its places is told, no move takes it, and its origin and what it is
// copied from stay.
func TestAHalfMadeCopyIsNobodysToUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	n := w.nodes[0]
	w.deploy("db", n, 1, nil)
	n.slow.Store(true)
	w.copied("db-0", "copy", "")
	a := cluster.Application{Name: "reader", Image: image, Node: cluster.NodeID(n.name), Volumes: []cluster.Volume{{Dataset: "copy", MountPoint: "/data"}}}
	if _, err := w.user.Deploy(t.Context(), api.DeployRequest{Applications: []cluster.Application{a}}); err != nil {
		t.Fatal(err)
	}
	d := w.half(n, "copy")
	n.looksAgain()
	if c, _ := n.copyOf(d.ID); d.Born || d.Path != "" || c.Epoch != cluster.HalfEpoch {
		t.Errorf("half of its files are there, and it is %+v, copy %+v", d, c)
	}
	if n.engine.Running("reader") {
		t.Error("an application runs on a half-made copy")
	}
	for what, ask := range map[string]func() error{
		"a move of it": func() error {
			_, err := w.user.CreateMove(t.Context(), api.MoveRequest{Dataset: "copy", Node: "node2"})
			return err
		},
		"a move of what uses it": func() error {
			_, err := w.user.CreateMove(t.Context(), api.MoveRequest{Application: "reader", Node: "node2"})
			return err
		},
		"the removal of its source": func() error {
			_, err := w.user.DeleteDataset(t.Context(), string(d.Origin.Via))
			return err
		},
		"a snapshot of its source": func() error {
			_, err := w.user.CreateSnapshots(t.Context(), api.SnapshotRequest{Dataset: string(d.Origin.Via)})
			return err
		},
		"the removal of the snapshot": func() error {
			_, err := w.user.DeleteSnapshot(t.Context(), "db-0", string(d.Origin.Snapshot))
			return err
		},
	} {
		if err := ask(); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("%s: %v; want a conflict", what, err)
		}
	}
	n.slow.Store(false)
	w.until("the application runs once the copy is whole", func() bool { return n.engine.Running("reader") })
}

// Removing a copy while it is made ends that, and leaves nothing.
func TestRemovingAHalfMadeCopyEndsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	w.deploy("db", n, 1, nil)
	for _, dies := range []func(){func() {}, func() { n.current().crash(200 * time.Millisecond) }} {
		n.slow.Store(true)
		w.copied("db-0", "copy", "")
		w.half(n, "copy")
		if _, err := w.user.DeleteDataset(t.Context(), "copy"); err != nil {
			t.Fatal(err)
		}
		dies()
		w.onlyThese(n, "db-0")
		w.until("the snapshot goes with it", func() bool {
			left, err := w.user.Snapshots(t.Context(), "db-0")
			return err == nil && len(left) == 0
		})
		n.slow.Store(false)
		w.served("db")
	}
}
