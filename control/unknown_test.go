// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// twoEnds is a report of a node with two back ends, of which one may not be looked at, of copies by their back ends.
func (n *node) twoEnds(far string, in map[cluster.DatasetID]string) {
	n.f.t.Helper()
	o := cluster.Observed{
		Node: n.id, BootID: n.request.BootID, Revision: 1 << 40, Copies: map[cluster.DatasetID]cluster.Copy{},
		Storage: cluster.Storage{Backend: "near"}, Further: map[string]cluster.Storage{"far": {Backend: "far", Error: far}},
	}
	for id, end := range in {
		o.Copies[id] = cluster.Copy{Dataset: id, Backend: end, Head: true, Epoch: 1}
	}
	if err := n.client.Report(n.f.t.Context(), api.ObservedReport{Session: n.session.ID, Observed: o}); err != nil {
		n.f.t.Fatal(err)
	}
}

// copies are those of a dataset that the control service knows of, by back end; none where the dataset is forgotten.
func (f *fixture) copies(id cluster.DatasetID) []string {
	f.t.Helper()
	info, err := f.service.GetDataset(f.t.Context(), string(id))
	if err != nil && !errors.Is(err, cluster.ErrNotFound) {
		f.t.Fatal(err)
	}
	ends := []string{}
	for _, c := range info.Copies {
		ends = append(ends, c.Backend)
	}
	return ends
}

// A report that tells nothing of a back end takes nothing of it away and ends no deletion; one that tells of it does both.
func TestWhatIsOutOfSightIsNotGone(t *testing.T) {
	f := newFixture(t)
	n := f.node("a")
	n.twoEnds("", nil)
	asked := func(name, end string) cluster.DatasetID {
		t.Helper()
		d, err := f.service.CreateDataset(t.Context(), "test", api.DatasetRequest{Name: name, Node: "a", Backend: end})
		if err != nil {
			t.Fatal(err)
		}
		return d.ID
	}
	kept, doomed, near := asked("kept", "far"), asked("doomed", "far"), asked("near", "near")
	unborn, moved := asked("unborn", "far"), asked("moved", "near")
	old, strange := asked("old", ""), asked("strange", "near")
	n.twoEnds("", map[cluster.DatasetID]string{strange: "near"}) // where it belongs
	n.twoEnds("", map[cluster.DatasetID]string{kept: "far", doomed: "far", near: "near", moved: "far", old: "", strange: "far"})
	for _, id := range []cluster.DatasetID{doomed, near, unborn, strange} {
		if _, err := f.service.DeleteDataset(t.Context(), "test", string(id)); err != nil {
			t.Fatal(err)
		}
	}

	n.twoEnds("no answer", map[cluster.DatasetID]string{moved: "near"})
	want := map[cluster.DatasetID][]string{kept: {"far"}, doomed: {"far"}, unborn: {}, moved: {"far"}, old: {""}, strange: {"far"}}
	for id, ends := range want {
		if got := f.copies(id); !slices.Equal(got, ends) {
			t.Errorf("of dataset %s is known %v while one back end cannot be looked at; want %v", id, got, ends)
		}
	}
	if _, err := f.service.GetDataset(t.Context(), string(unborn)); err != nil {
		t.Errorf("a dataset whose back end nobody looked at: %v; want that it is still to be destroyed", err)
	}
	if _, err := f.service.GetDataset(t.Context(), string(near)); !errors.Is(err, cluster.ErrNotFound) {
		t.Errorf("a dataset that is gone from the other back end: %v; want %v", err, cluster.ErrNotFound)
	}
	s, err := f.service.Status(t.Context())
	if err != nil || !slices.ContainsFunc(s.Pending, func(p api.Pending) bool {
		return p.Reason == "its storage far cannot be used: no answer; what is in it is left as it is"
	}) {
		t.Errorf("Status = %+v, %v; want which back end cannot be used, and why", s.Pending, err)
	}

	n.twoEnds("", map[cluster.DatasetID]string{kept: "far", moved: "near"})
	for id, ends := range map[cluster.DatasetID][]string{kept: {"far"}, moved: {"near"}, old: {}} {
		if got := f.copies(id); !slices.Equal(got, ends) {
			t.Errorf("of dataset %s is known %v once all can be looked at; want %v", id, got, ends)
		}
	}
	for _, id := range []cluster.DatasetID{doomed, unborn, strange} {
		if _, err := f.service.GetDataset(t.Context(), string(id)); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("a dataset that was destroyed: %v; want %v", err, cluster.ErrNotFound)
		}
	}
}
