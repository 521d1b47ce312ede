// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

// hindrance is what stands in the way of a move, and the words that its refusal must hold: object, reason and remedy.
type hindrance struct {
	name  string
	cause func(w *world, source, target *node) (undo func())
	words []string
}

func hindrances() []hindrance {
	return []hindrance{
		{"image missing everywhere", func(_ *world, source, target *node) func() {
			source.engine.RemoveImage(image)
			target.engine.RemoveImage(image)
			return func() { source.addImage(); target.addImage() }
		}, []string{image, "neither on", "pull it"}},
		{"port taken", func(w *world, _, target *node) func() {
			target.net.Listen(w.port("db"), "nginx (pid 7)")
			return func() { target.net.Listen(w.port("db"), "") }
		}, []string{"5000/tcp of application db", "nginx (pid 7)", "node2", "stop that"}},
		{"name taken", func(_ *world, _, target *node) func() {
			target.engine.SetForeign("flocker--db", "/elsewhere")
			return func() { target.engine.SetForeign("flocker--db") }
		}, []string{"application db", "not Flocker's", "node2", "rename or remove"}},
		{"used by a foreign container on the source", func(w *world, source, target *node) func() {
			source.engine.SetForeign("backup", filepath.Join(source.mounts, string(w.dataset("db-0")), "data"))
			w.refused("db", target)
			return func() { source.engine.SetForeign("backup") }
		}, []string{"dataset", "container backup", "node1"}},
		{"used by a foreign container on the target", func(w *world, _, target *node) func() {
			target.engine.SetForeign("backup", filepath.Join(target.mounts, string(w.dataset("db-0"))))
			w.refused("db", target)
			return func() { target.engine.SetForeign("backup") }
		}, []string{"dataset", "container backup", "node2", "stop that container"}},
		{"target too small", func(w *world, _, target *node) func() {
			id := w.dataset("other-0")
			if err := target.disk.Write(id, "bulk", make([]byte, diskSize/4)); err != nil {
				w.t.Fatal(err)
			}
			return func() {
				if err := target.disk.Write(id, "bulk", nil); err != nil {
					w.t.Error(err)
				}
			}
		}, []string{"storage of node2", "MiB are free", "MiB are needed", "free space"}},
	}
}

// refused waits until the agents have seen what stands in the way.
func (w *world) refused(app string, to *node) {
	w.t.Helper()
	w.until("a dry run is refused", func() bool {
		report, err := w.user.Preflight(w.t.Context(), api.MoveRequest{Application: app, Node: to.name})
		return err == nil && !report.OK()
	})
}

// What stands in the way is found before anything stops, by the dry run and by the move itself.
func TestMovesAreRefusedBeforeAnythingStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	w.deploy("other", target, 1, nil)
	began := source.started("db")
	for _, h := range hindrances() {
		undo := h.cause(w, source, target)
		report, err := w.user.Preflight(t.Context(), api.MoveRequest{Application: "db", Node: target.name})
		if err != nil || report.OK() {
			t.Errorf("%s: preflight %+v, %v", h.name, report, err)
		}
		var problems strings.Builder
		for _, c := range report.Checks {
			if !c.OK {
				problems.WriteString(strings.Join([]string{c.Name, c.Object, c.Problem, c.Remedy, c.Node}, " "))
			}
		}
		m := w.wait(w.ask("db", target))
		if m.Phase != cluster.MoveAborted {
			t.Errorf("%s: the move ended as %s: %s", h.name, m.Phase, m.Reason)
		}
		for _, word := range h.words {
			if !strings.Contains(problems.String(), word) || !strings.Contains(m.Reason, word) {
				t.Errorf("%s: %q is to be in what preflight says (%s), and in why the move was aborted (%s)", h.name, word, &problems, m.Reason)
			}
		}
		if _, here := target.found("db"); here {
			t.Errorf("%s: a container is left on the target", h.name)
		}
		undo()
		w.rest()
		if !source.started("db").Equal(began) {
			t.Fatalf("%s: the application was stopped", h.name)
		}
	}
	if m := w.move("db", target); m.Phase != cluster.MoveCleaned {
		t.Errorf("with all of it gone the move ended as %s: %s", m.Phase, m.Reason)
	}
}

func TestMoveToNobodyIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.deploy("db", w.nodes[0], 1, nil)
	for _, r := range []api.MoveRequest{{Application: "db", Node: "node9"}, {Application: "none", Node: "node1"}} {
		if _, err := w.user.CreateMove(t.Context(), r); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("CreateMove(%+v) = %v; want ErrNotFound", r, err)
		}
		if _, err := w.user.Preflight(t.Context(), r); !errors.Is(err, cluster.ErrNotFound) {
			t.Errorf("Preflight(%+v) = %v; want ErrNotFound", r, err)
		}
	}
	if _, err := w.user.CreateMove(t.Context(), api.MoveRequest{Application: "db", Node: "node1"}); !errors.Is(err, cluster.ErrExists) {
		t.Errorf("a move to where it is: %v; want ErrExists", err)
	}
	w.rest()
}

func TestDiskThatFillsDuringTheCopyStopsTheMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	w.deploy("other", target, 1, nil)
	id, other := w.dataset("db-0"), w.dataset("other-0")
	if err := source.disk.Write(id, "bulk", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	began := source.started("db")
	fill := func(spare int64) {
		free, _, err := target.disk.Space(t.Context())
		if err != nil {
			t.Error(err)
		}
		if err := target.disk.Write(other, "bulk", make([]byte, free-spare)); err != nil {
			t.Error(err)
		}
	}
	target.at("receive", func() { fill(512 << 10) })
	m := w.wait(w.ask("db", target))
	if m.Phase != cluster.MoveAborted || !strings.Contains(m.Reason, "no space left") || !strings.Contains(m.Reason, string(id)) {
		t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	if !source.started("db").Equal(began) {
		t.Error("the application was stopped")
	}
	if c, here := target.copyOf(id); here {
		t.Errorf("a half copy is left on the target: %+v", c)
	}
	if err := target.disk.Write(other, "bulk", nil); err != nil {
		t.Error(err)
	}
	w.rest()
	if m := w.move("db", target); m.Phase != cluster.MoveCleaned {
		t.Errorf("with room for it the move ended as %s: %s", m.Phase, m.Reason)
	}
}

// An application that does not run on the target goes back to its untouched data, and the reason says what it said.
func TestApplicationThatDoesNotGetReadyIsTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	source, target := w.nodes[0], w.nodes[1]
	w.deploy("db", source, 1, nil)
	for b, words := range map[behaviour][]string{
		ends:    {"the last words of db", "ended with 3"},
		hangs:   {"db is not ready", "5432"},
		refuses: {"start application db", "executable file not found"},
	} {
		target.make("db", b)
		m, err := w.user.CreateMove(t.Context(), api.MoveRequest{
			Application: "db", Node: target.name, Options: cluster.MoveOptions{ReadyTimeout: cluster.Duration(time.Second)},
		})
		if err != nil {
			t.Fatal(err)
		}
		m = w.wait(m.ID)
		w.rest()
		if m.Phase != cluster.MoveTakenBack {
			t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
		}
		for _, word := range words {
			if !strings.Contains(m.Reason, word) {
				t.Errorf("%q is not in the reason: %s", word, m.Reason)
			}
		}
		if !source.heard("db") {
			t.Error("the source does not serve")
		}
	}
	target.make("db", well)
	if m := w.move("db", target); m.Phase != cluster.MoveCleaned {
		t.Errorf("once it runs on the target the move ended as %s: %s", m.Phase, m.Reason)
	}
}
