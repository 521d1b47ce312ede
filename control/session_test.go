// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

func TestASecondSessionIsRefusedWhileTheFirstIsConnected(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n := f.node("node1")
	w := n.follow(cluster.NewDesired())
	w.until(t, "the first full state", func(d cluster.Desired) bool { return d.Complete && d.Nodes[n.id].Alive() })

	again, err := n.client.OpenSession(t.Context(), n.request)
	if err != nil || again.ID != n.session.ID {
		t.Fatalf("the same process got %v, %v; want its session %s", again, err, n.session.ID)
	}
	other := n.request
	other.Process = uuid.NewString()
	_, err = n.client.OpenSession(t.Context(), other)
	wantError(t, err, cluster.ErrConflict)
}

func TestARestartedAgentTakesOverFromItsDeadProcess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n := f.node("node1")
	w := n.follow(cluster.NewDesired())
	w.until(t, "the first full state", func(d cluster.Desired) bool { return d.Complete })
	w.stop()
	former := n.session.ID
	n.request.Process = uuid.NewString()
	for deadline := 0; ; deadline++ {
		s, err := n.client.OpenSession(t.Context(), n.request)
		if err == nil {
			n.session = s
			break
		}
		if deadline > 1000 { // each try is a round trip; the server needs a moment to see the stream end
			t.Fatal(err)
		}
	}
	if n.session.ID == former {
		t.Fatal("the session did not change")
	}
	err := n.client.Report(t.Context(), api.ObservedReport{Session: former})
	wantError(t, err, cluster.ErrPrecondition)
	if err := n.client.Report(t.Context(), api.ObservedReport{Session: n.session.ID}); err != nil {
		t.Fatal(err)
	}
}

func TestSessionAndWatchOutliveARestartOfControl(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	n := f.node("node1")
	w := n.follow(cluster.NewDesired())
	d := w.until(t, "the first full state", func(d cluster.Desired) bool { return d.Complete && d.Nodes[n.id].Alive() })
	f.stop()
	w.stop()
	f.start()
	w = n.follow(d)
	f.node("node2")
	w.until(t, "the other node", func(d cluster.Desired) bool { return len(d.Nodes) == 2 && d.Session == n.session.ID })
}

func TestObservationsReachTheOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := f.node("a"), f.node("b")
	w := b.follow(cluster.NewDesired())
	report := api.ObservedReport{Session: a.session.ID, Observed: cluster.Observed{
		Node: a.id, BootID: a.request.BootID,
		Containers: map[string]cluster.Container{"web": {Application: "web", State: cluster.ContainerRunning}},
		Status:     map[string]cluster.Status{"application/web": {Reason: "because"}},
	}}
	if err := a.client.Report(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	d := w.until(t, "a's containers", func(d cluster.Desired) bool { return len(d.Elsewhere[a.id].Containers) == 1 })
	if len(d.Elsewhere[b.id].Containers) != 0 {
		t.Error("a node is told what it sees itself")
	}
	blind := api.ObservedReport{Session: a.session.ID, Blind: true, Observed: cluster.Observed{
		Node: a.id, Status: map[string]cluster.Status{cluster.StatusOfNode: {Reason: "it cannot look"}},
	}}
	if err := a.client.Report(t.Context(), blind); err != nil {
		t.Fatal(err)
	}
	s, err := f.service.Status(t.Context())
	if err != nil || len(s.Pending) != 1 || !strings.Contains(s.Pending[0].Reason, "it cannot look") {
		t.Errorf("Status = %+v, %v; want that a says why it can do nothing", s.Pending, err)
	}
	late := f.node("c").follow(cluster.NewDesired())
	d = late.until(t, "the whole state", func(d cluster.Desired) bool { return d.Complete })
	if late.stop(); len(d.Elsewhere[a.id].Containers) != 1 {
		t.Error("what a node saw is forgotten because it cannot look now")
	}

	report.Observed.Containers = nil
	if err := a.client.Report(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	w.until(t, "no containers", func(d cluster.Desired) bool { return len(d.Elsewhere[a.id].Containers) == 0 })

	report.Observed.Node = b.id
	wantError(t, a.client.Report(t.Context(), report), cluster.ErrForbidden)
}
