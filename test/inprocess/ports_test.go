// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
)

// publish deploys an application without data that wants a port.
func (w *world) publish(name string, on *node, port int) error {
	_, err := w.user.Deploy(w.t.Context(), api.DeployRequest{Applications: []cluster.Application{{
		Name: name, Image: image, Node: cluster.NodeID(on.name), Ports: []cluster.Port{{Internal: 5432, External: port}},
	}}})
	return err
}

// refusedPort waits until a port is refused with these words; until agents have told of it, it would be given.
func (w *world) refusedPort(on *node, port int, words string) {
	w.t.Helper()
	request := api.DeployRequest{DryRun: true, Applications: []cluster.Application{{
		Name: "try", Image: image, Node: cluster.NodeID(on.name), Ports: []cluster.Port{{Internal: 5432, External: port}},
	}}}
	w.until("a port is refused with "+words, func() bool {
		_, err := w.user.Deploy(w.t.Context(), request)
		return errors.Is(err, cluster.ErrConflict) && strings.Contains(err.Error(), words)
	})
}

// A port answers on every node, so that who listens on it on any of them stands in the way, and is named.
func TestAPortInUseOnAnyNodeIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	first, second, third := w.nodes[0], w.nodes[1], w.nodes[2]
	taken := network.Port{Protocol: "tcp", Number: 7070}
	third.net.Listen(taken, "postgres (pid 812)")
	second.engine.SetPublisher("web", cluster.Port{Internal: 80, External: 7071, Protocol: "tcp"})
	w.refusedPort(first, 7070, "port 7070/tcp of application try: postgres (pid 812) listens on it on node3; stop that process or choose another external port")
	w.refusedPort(first, 7071, "port 7071/tcp of application try: container web listens on it on node2; stop that container or choose another external port")
	if err := w.publish("db", first, 7070); !errors.Is(err, cluster.ErrConflict) {
		t.Errorf("deployed: %v", err)
	}
	third.net.Listen(taken, "")
	second.engine.SetPublisher("web")
	w.until("the port is given when nobody listens any more", func() bool { return w.publish("db", first, 7070) == nil })
	if err := w.publish("late", second, 7070); !errors.Is(err, cluster.ErrConflict) || !strings.Contains(err.Error(), "application db publishes it") {
		t.Errorf("a second application got the port: %v", err)
	}
}

// Who begins to listen later is told of with the application and before a move, and stops neither.
func TestAPortThatIsTakenLaterWarns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.deploy("db", w.nodes[0], 1, nil)
	w.nodes[2].net.Listen(w.port("db"), "postgres (pid 812)")
	w.until("the status tells of it", func() bool {
		a, err := w.user.Application(t.Context(), "db")
		return err == nil && len(a.Warnings) == 1 && strings.Contains(a.Warnings[0], "port 5000/tcp: postgres (pid 812) listens on it on node3 too")
	})
	report, err := w.user.Preflight(t.Context(), api.MoveRequest{Application: "db", Node: "node2"})
	warned := false
	for _, c := range report.Checks {
		warned = warned || c.Name == "port" && c.Node == "node3" && c.OK && strings.Contains(c.Problem, "postgres (pid 812)") && c.Remedy != ""
	}
	if err != nil || !report.OK() || !warned {
		t.Errorf("preflight: %+v, %v; want a warning of node3", report, err)
	}
	if m := w.move("db", w.nodes[1]); m.Phase != cluster.MoveCleaned {
		t.Errorf("the move ended as %s: %s", m.Phase, m.Reason)
	}
}
