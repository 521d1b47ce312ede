// SPDX-License-Identifier: Apache-2.0

package zfs_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/backend/backendtest"
	"github.com/flocker-project/flocker/backend/zfs"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// made makes a mounted head with a file.
func (h *harness) made(t *testing.T, id cluster.DatasetID) {
	t.Helper()
	mustAll(t,
		h.driver.Create(t.Context(), backend.Spec{Dataset: id, Epoch: 1}),
		h.driver.Mount(t.Context(), id, h.Path(id)),
		h.Write(id, "first", []byte("1")))
}

func (h *harness) snapshot(t *testing.T, id cluster.DatasetID, epoch cluster.Epoch, serial uint64) cluster.Snapshot {
	t.Helper()
	s, err := h.driver.Snapshot(t.Context(), id, backend.Lineage{Epoch: epoch, Serial: serial})
	mustAll(t, err)
	return s
}

// ship sends a snapshot from one pool to another.
func ship(t *testing.T, from, to *harness, id cluster.DatasetID, s cluster.Snapshot, base string) {
	t.Helper()
	shipAs(t, from, to, backend.Arrival{Dataset: id, Base: base}, s)
}

func shipAs(t *testing.T, from, to *harness, as backend.Arrival, s cluster.Snapshot) {
	t.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(from.driver.Send(t.Context(), as.Dataset, s.Name, as.Base, w)) }()
	_, err := to.driver.Receive(t.Context(), as, backendtest.Saying(s), r)
	mustAll(t, err)
}

func (h *harness) names(t *testing.T, id cluster.DatasetID) (names []string) {
	t.Helper()
	copies, err := h.driver.List(t.Context())
	mustAll(t, err)
	for _, c := range copies {
		for _, s := range c.Snapshots {
			if c.Dataset == id {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// TestAnyCommonSnapshotIsABase: also one that is not the newest, while the head lives, and back again.
func TestAnyCommonSnapshotIsABase(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	a.made(t, dataset)
	one := a.snapshot(t, dataset, 1, 1)
	ship(t, a, b, dataset, one, "")
	mustAll(t, a.Write(dataset, "second", []byte("2")))
	two := a.snapshot(t, dataset, 1, 2)
	ship(t, a, b, dataset, two, one.Name)
	mustAll(t, a.Write(dataset, "third", []byte("3")))
	three := a.snapshot(t, dataset, 1, 3)
	ship(t, a, b, dataset, three, one.Name) // the second is newer on b
	if got, want := b.names(t, dataset), []string{one.Name, two.Name, three.Name}; !slices.Equal(got, want) {
		t.Fatalf("snapshots = %v; want %v", got, want)
	}
	mustAll(t,
		b.driver.Clone(t.Context(), dataset, two.Name, backend.Spec{Dataset: dataset, Epoch: 2}, ""),
		b.driver.Mount(t.Context(), dataset, b.Path(dataset)),
		b.Write(dataset, "there", []byte("4")))
	four := b.snapshot(t, dataset, 2, 1)
	mustAll(t, a.driver.Unmount(t.Context(), dataset))
	ship(t, b, a, dataset, four, two.Name) // a has a head, and a newer snapshot
	mustAll(t, a.driver.DropHead(t.Context(), dataset),
		a.driver.Clone(t.Context(), dataset, four.Name, backend.Spec{Dataset: dataset, Epoch: 3}, ""),
		a.driver.Mount(t.Context(), dataset, a.Path(dataset)))
	files, err := a.Files(dataset)
	if err != nil || len(files) != 3 || string(files["there"]) != "4" || string(files["second"]) != "2" {
		t.Errorf("files = %q, %v; want the first, the second and that from there", files, err)
	}
	ship(t, a, b, dataset, a.snapshot(t, dataset, 3, 1), four.Name)
	for _, h := range []*harness{a, b} {
		mustAll(t, h.driver.Unmount(t.Context(), dataset), h.driver.Destroy(t.Context(), dataset))
		h.left(t)
		if got := h.names(t, dataset); got != nil {
			t.Errorf("snapshots after Destroy = %v; want none", got)
		}
	}
}

// TestAWholeCopyBesideAnother: without a common snapshot the whole is sent, and both stay.
func TestAWholeCopyBesideAnother(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	a.made(t, dataset)
	one := a.snapshot(t, dataset, 1, 1)
	ship(t, a, b, dataset, one, "")
	two := a.snapshot(t, dataset, 1, 2)
	ship(t, a, b, dataset, two, "")
	if got := b.names(t, dataset); !slices.Equal(got, []string{one.Name, two.Name}) {
		t.Errorf("snapshots = %v; want both", got)
	}
	mustAll(t, a.driver.Unmount(t.Context(), dataset), b.driver.Destroy(t.Context(), dataset))
	b.left(t)
}

// TestClonesOutliveTheirOrigin: several of them, of several snapshots, one with a snapshot of the same name.
func TestClonesOutliveTheirOrigin(t *testing.T) {
	h := newPool(t, 256<<20)
	h.made(t, dataset)
	one := h.snapshot(t, dataset, 1, 1)
	mustAll(t, h.Write(dataset, "second", []byte("2")))
	two := h.snapshot(t, dataset, 1, 2)
	clones := map[cluster.DatasetID]string{}
	for _, s := range []string{one.Name, two.Name, two.Name} {
		id := cluster.DatasetID(uuid.NewString())
		clones[id] = s
		mustAll(t, h.driver.Clone(t.Context(), dataset, s, backend.Spec{Dataset: id, Epoch: 1}, ""))
		h.snapshot(t, id, 1, 1)
	}
	if table, err := mount.Table(); err != nil || slices.ContainsFunc(table, func(e mount.Entry) bool {
		return strings.HasPrefix(e.Point, h.config.MountRoot) && e.Point != h.Path(dataset)
	}) {
		t.Errorf("mounts = %+v, %v; want none of a clone", table, err)
	}
	mustAll(t, h.driver.DeleteSnapshot(t.Context(), dataset, one.Name))
	if got := h.names(t, dataset); !slices.Equal(got, []string{two.Name}) {
		t.Errorf("snapshots = %v; want the second", got)
	}
	mustAll(t, h.driver.Unmount(t.Context(), dataset), h.driver.Destroy(t.Context(), dataset))
	if got := h.names(t, dataset); got != nil {
		t.Errorf("snapshots after Destroy = %v; want none", got)
	}
	h.driver = h.Reopen(t).(*zfs.Driver)
	for id, of := range clones {
		if got := h.names(t, id); !slices.Equal(got, []string{one.Name}) {
			t.Errorf("snapshots of a clone = %v; want its own", got)
		}
		mustAll(t, h.driver.Mount(t.Context(), id, h.Path(id)))
		files, err := h.Files(id)
		if want := 1 + strings.Count(of, two.Name); err != nil || len(files) != want {
			t.Errorf("clone of %s = %q, %v; want %d files", of, files, err, want)
		}
		mustAll(t, h.driver.Unmount(t.Context(), id), h.driver.Destroy(t.Context(), id))
	}
	h.left(t)
}

// TestWhatOthersMadeOfItKeepsADataset: a snapshot and a clone that are not Flocker's.
func TestWhatOthersMadeOfItKeepsADataset(t *testing.T) {
	h := newPool(t, 256<<20)
	mustAll(t, h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}))
	s := h.snapshot(t, dataset, 1, 1)
	line := h.config.Pool + "/" + h.owner(t) + ".default." + string(dataset)
	refused := func(what string) {
		t.Helper()
		if err := h.driver.Destroy(t.Context(), dataset); !errors.Is(err, backend.ErrBusy) {
			t.Errorf("Destroy with %s = %v; want %v", what, err, backend.ErrBusy)
		}
		if got := h.names(t, dataset); !slices.Equal(got, []string{s.Name}) {
			t.Errorf("snapshots after Destroy with %s = %v; want %s", what, got, s.Name)
		}
	}
	command(t, "zfs", "snapshot", line+"@theirs")
	refused("a snapshot of others")
	command(t, "zfs", "destroy", line+"@theirs")
	command(t, "zfs", "clone", "-o", "mountpoint=none", line+"@"+s.Name, h.pool+"/theirs")
	refused("a clone of others")
	command(t, "zfs", "destroy", h.pool+"/theirs")
	mustAll(t, h.driver.Destroy(t.Context(), dataset))
}

func TestAPinnedSnapshotIsNotDestroyedByOthers(t *testing.T) {
	h := newPool(t, 256<<20)
	mustAll(t, h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}))
	s := h.snapshot(t, dataset, 1, 1)
	line := h.config.Pool + "/" + h.owner(t) + ".default." + string(dataset)
	if out := command(t, "sh", "-c", "zfs destroy "+line+"@"+s.Name+" 2>&1 || :"); !strings.Contains(out, "busy") {
		t.Errorf("zfs destroy of a pinned snapshot: %q; want a refusal", out)
	}
}

// TestAHoldOfOthersInPlaceOfOurs: somebody released Flocker's hold of a snapshot, and has one of their own.
func TestAHoldOfOthersInPlaceOfOurs(t *testing.T) {
	h := newPool(t, 256<<20)
	mustAll(t, h.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}))
	s := h.snapshot(t, dataset, 1, 1)
	name := h.config.Pool + "/" + h.owner(t) + ".default." + string(dataset) + "@" + s.Name
	command(t, "zfs", "release", "flocker", name)
	command(t, "zfs", "hold", "theirs", name)
	if err := h.driver.Destroy(t.Context(), dataset); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Destroy of what others hold = %v; want %v", err, backend.ErrBusy)
	}
	command(t, "zfs", "release", "theirs", name)
	mustAll(t, h.driver.Destroy(t.Context(), dataset))
}

// TestStreamsOfAnotherKindAreRefused: changed in their first record.
func TestStreamsOfAnotherKindAreRefused(t *testing.T) {
	a, b := newPool(t, 256<<20), newPool(t, 256<<20)
	mustAll(t, a.driver.Create(t.Context(), backend.Spec{Dataset: dataset, Epoch: 1}))
	s := a.snapshot(t, dataset, 1, 1)
	var stream bytes.Buffer
	mustAll(t, a.driver.Send(t.Context(), dataset, s.Name, "", &stream))
	for what, change := range map[string]func(p []byte){
		"no begin":           func(p []byte) { p[0] = 3 },
		"another byte order": func(p []byte) { slices.Reverse(p[8:16]) },
		"of many snapshots":  func(p []byte) { p[16] = p[16]&^3 | 2 },
		"of another base":    func(p []byte) { p[36] |= 1 },
		"with a base":        func(p []byte) { p[48] = 1 },
		"a name without end": func(p []byte) { copy(p[56:312], bytes.Repeat([]byte("x"), 256)) },
		"no end":             func(p []byte) { p[len(p)-312] = 0 },
	} {
		p := bytes.Clone(stream.Bytes())
		change(p)
		if _, err := b.driver.Receive(t.Context(), backend.Arrival{Dataset: dataset}, backendtest.Saying(s), bytes.NewReader(p)); err == nil {
			t.Errorf("Receive of a stream that is %s = nil; want an error", what)
		}
		if got := b.names(t, dataset); got != nil {
			t.Errorf("snapshots after a stream that is %s = %v; want none", what, got)
		}
		b.left(t)
	}
}

func TestOpenRefusesWhatIsNotMarked(t *testing.T) {
	h := newPool(t, 256<<20)
	command(t, "zfs", "create", "-o", "mountpoint=none", h.pool+"/home")
	command(t, "zfs", "create", "-o", "mountpoint=none", h.pool+"/home/me")
	for _, pool := range []string{h.pool, h.pool + "/home", h.pool + "none", h.pool + "/none/flocker"} {
		config := h.config
		config.Pool = pool
		if d, err := zfs.Open(t.Context(), config, nil); err == nil {
			t.Errorf("Open(%s) = nil; want a refusal", pool)
			mustAll(t, d.Close())
		}
	}
	if _, err := zfs.Open(t.Context(), h.config, nil); !errors.Is(err, backend.ErrBusy) {
		t.Errorf("Open twice = %v; want %v", err, backend.ErrBusy)
	}
}
