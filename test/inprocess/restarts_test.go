// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// Restarting the agents and the control service, killed or in good order, changes nothing on a node.
func TestRestartsDisturbNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	n := w.nodes[0]
	w.deploy("db", n, 2, nil)
	if m := w.move("db", w.nodes[1]); m.Phase != cluster.MoveCleaned {
		t.Fatalf("the move ended as %s: %s", m.Phase, m.Reason)
	}
	n = w.nodes[1]
	restarts := map[string]func(){
		"the agent stops and starts": func() { n.current().stop(); n.start() },
		"the agent is killed":        func() { n.current().kill(); n.start() },
		"control is killed":          func() { w.service.kill(); w.service.start() },
		"both are killed":            func() { n.current().kill(); w.service.kill(); n.start(); w.service.start() },
	}
	for name, restart := range restarts {
		began, before := n.started("db"), n.changes()
		at := n.sessions()
		restart()
		w.until("the agent is back", func() bool { return n.sessions() > at })
		w.rest()
		if !n.started("db").Equal(began) {
			t.Errorf("%s: the application was restarted", name)
		}
		if diff := cmp.Diff(before, n.changes()); diff != "" {
			t.Errorf("%s: something was done: %s", name, diff)
		}
	}
}

// After a boot nothing runs before the store has said so, and then everything does.
func TestRebootedNodeWaitsForTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	n := w.nodes[0]
	w.deploy("db", n, 1, nil)
	w.deploy("idle", n, 1, func(a *cluster.Application) { a.Restart.Name = cluster.RestartNever })
	w.rest()
	ids := map[string]cluster.DatasetID{"db": w.dataset("db-0"), "idle": w.dataset("idle-0")}
	w.service.kill()
	n.reboot()
	n.looksAgain()
	for _, app := range []string{"db", "idle"} {
		if n.engine.Running(app) || n.disk.Writable(ids[app]) {
			t.Errorf("application %s came up before the store was asked", app)
		}
	}
	w.service.start()
	for _, app := range []string{"db", "idle"} {
		w.until(app+" serves again", func() bool { return n.heard(app) })
	}
	w.rest()
}

// While control is away everything that runs goes on, and the agent keeps the restart policies.
func TestAgentsCarryOnWithoutControl(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	n := w.nodes[0]
	w.deploy("db", n, 1, nil)
	w.deploy("once", n, 1, func(a *cluster.Application) { a.Restart.Name = cluster.RestartNever })
	w.rest()
	w.service.kill()
	before, began := n.changes(), n.started("db")
	w.served("db")
	n.engine.Kill("once")
	n.engine.Kill("db")
	w.until("the application runs again", func() bool { return n.heard("db") && !n.started("db").Equal(began) })
	w.served("db")
	if n.engine.Running("once") {
		t.Error("an application that is never to be restarted was")
	}
	before["Start"]++
	if diff := cmp.Diff(before, n.changes()); diff != "" {
		t.Errorf("the agent did more than to restart what had ended: %s", diff)
	}
	w.service.start()
	w.until("control knows that the one has ended", func() bool {
		a, err := w.user.Application(t.Context(), "once")
		return err == nil && a.Container != nil && a.Container.State == cluster.ContainerExited && len(a.Pending) == 1
	})
	onlyThatIsPending := func() bool {
		s, err := w.user.Status(t.Context())
		return err == nil && len(s.Pending) == 1
	}
	w.until("nothing else is pending", onlyThatIsPending)
	n.current().kill()
	n.start()
	at := n.sessions()
	w.until("the agent is back", func() bool { return n.sessions() > at })
	w.until("the next agent knows it too", onlyThatIsPending)
	if n.engine.Running("once") {
		t.Error("an application that is never to be restarted was, by the agent's next process")
	}
}

// What a process of the agent told is not taken back by the next one, which has read nothing yet, or cannot look.
func TestNextAgentTakesNothingBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	w.deploy("once", n, 1, func(a *cluster.Application) { a.Restart.Name = cluster.RestartNever })
	w.rest()
	n.engine.Kill("once")
	id := string(w.dataset("once-0"))
	isKnown := func() bool {
		a, err := w.user.Application(t.Context(), "once")
		d, errD := w.user.Dataset(t.Context(), id)
		return err == nil && errD == nil && a.Container != nil && a.Container.Ended && d.Path != ""
	}
	isPending := func(reason string) func() bool {
		return func() bool {
			s, err := w.user.Status(t.Context())
			return err == nil && len(s.Pending) == 1 && strings.Contains(s.Pending[0].Reason, reason)
		}
	}
	stays := func(what string) {
		t.Helper()
		n.looksAgain()
		w.until("the agent reports", isPending("not restarted by its policy"))
		if !isKnown() || n.engine.Running("once") {
			t.Errorf("an application that had ended was started by an agent that %s", what)
		}
	}
	w.until("control knows that it has ended", isKnown)

	n.current().kill()
	looked := make(chan struct{})
	n.at("Watch", func() { <-looked })
	n.start()
	n.looksAgain() // before it has read
	read := make(chan struct{})
	n.at("read", func() { close(read) })
	n.at("List", func() {
		close(looked)
		<-read // and it reads while it looks
	})
	stays("had read nothing")

	n.current().kill()
	n.broken.Store(true)
	n.start()
	w.until("the agent says what is wrong", func() bool {
		s, err := w.user.Status(t.Context())
		objects := map[string]bool{}
		for _, p := range s.Pending {
			objects[p.Object] = strings.Contains(p.Reason, errBroken.Error())
		}
		return err == nil && len(objects) == 3 && objects["node/"+string(n.id)] && objects["dataset/"+id] && objects["application/once"]
	})
	if !isKnown() {
		t.Error("an agent that cannot look took back what is known")
	}
	n.broken.Store(false)
	stays("could not look at first")
}

// A second process with a node's certificate is refused while the first lives, and changes nothing for it.
func TestSecondSessionOfANodeIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.nodes[0]
	w.deploy("db", n, 1, nil)
	w.rest()
	second := api.NewAgentClient([]string{w.service.agents}, pki.ClientTLS(n.creds, pki.ExpectControl()))
	defer second.Close()
	r := api.SessionRequest{
		Name: "twin", Address: "127.0.0.1", AgentAddress: "127.0.0.1:1", BootID: n.boot, Version: "test", Protocol: cluster.ProtocolVersion,
	}
	for range 3 {
		r.Process = uuid.NewString()
		if _, err := second.OpenSession(t.Context(), r); !errors.Is(err, cluster.ErrConflict) {
			t.Fatalf("OpenSession of a second process: %v; want ErrConflict", err)
		}
	}
	w.rest()
	nodes, err := w.user.Nodes(t.Context())
	if err != nil || nodes[0].Name != n.name || !nodes[0].IsAlive {
		t.Errorf("the node is now %+v, %v", nodes, err)
	}
}
