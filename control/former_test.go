// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"slices"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// former checks whom db is kept from after a round.
func (l *lost) former(want ...string) {
	l.t.Helper()
	if err := l.service.FormerRound(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	a, err := l.service.GetApplication(l.t.Context(), "db")
	var ids []cluster.NodeID
	for _, name := range want {
		ids = append(ids, l.actors[name].id)
	}
	if err != nil || !slices.Equal(a.Former, ids) {
		l.t.Errorf("kept from %v, %v; want %v", a.Former, err, ids)
	}
}

// What a node told before it was taken over from does not count, nor what it tells while the container is there.
func TestNodeIsAFormerOneUntilItHasGivenUp(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	l.former()
	l.seen.Session = l.actors["a"].session
	l.goes() // it told of no container before
	l.at("c")
	l.former("a")
	l.boot("a", "boot-1")
	l.former("a")
	l.seen.Session = l.actors["a"].session
	l.seen.Confined, l.seen.Containers = nil, map[string]cluster.Container{"db": {Application: "db", State: cluster.ContainerExited}}
	l.report("a", l.seen)
	l.former("a")
	a, err := l.service.GetApplication(t.Context(), "db")
	if err != nil {
		t.Fatal(err)
	}
	spec := a.Application
	spec.Former, spec.Node = nil, l.actors["c"].id
	spec.MemoryLimit = 1 << 30
	if _, err := l.service.Deploy(t.Context(), "tester", api.DeployRequest{Applications: []cluster.Application{spec}}); err != nil {
		t.Fatal(err)
	}
	l.former("a") // a user's change does not end it
	l.seen.Containers = nil
	l.report("a", l.seen)
	l.former()
}

func TestNodeThatIsOffIsNoFormerOne(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	l.goes()
	l.former("a")
	fence := func(node string) {
		t.Helper()
		if _, err := l.service.FenceNode(t.Context(), "tester", node, api.FenceRequest{IsOff: true}); err != nil {
			t.Fatal(err)
		}
	}
	fence("a")
	l.former()
	l.report("b", l.held["b"]) // now the next one dies
	l.die("c")
	fence("c")
	r := api.FailOverRequest{Application: "db", Node: "b", MaxLoss: cluster.Duration(time.Hour)}
	if _, err := l.service.FailOver(t.Context(), "tester", r); err != nil {
		t.Fatal(err)
	}
	l.at("b")
	l.former()
}

// Nodes may be lost one after the other, and the first one may be the last that is left.
func TestEachNodeThatIsLostIsAFormerOne(t *testing.T) {
	t.Parallel()
	l := newLost(t)
	l.seen.Storage = cluster.Storage{Backend: "rbd", Capabilities: cluster.Capabilities{Attaches: true, Fences: true}}
	l.held = map[string]cluster.Observed{"b": {Storage: l.seen.Storage}, "c": {Storage: l.seen.Storage}}
	l.goes()
	l.former("a")
	l.taken("b")
	l.die("b")
	l.look()
	l.former("a", "b")
	l.taken("c")
	l.boot("a", "boot-1")
	l.die("c")
	l.look()
	l.former("b", "c")
}

// taken says that a node has taken the volume from its former one.
func (l *lost) taken(node string) {
	l.t.Helper()
	d := l.dataset("db")
	l.report(node, cluster.Observed{Storage: l.seen.Storage, Copies: map[cluster.DatasetID]cluster.Copy{d.ID: {Dataset: d.ID, Head: true, Epoch: d.Epoch}}})
}
