// SPDX-License-Identifier: Apache-2.0

// Package inprocess_test runs a whole cluster in one process: the control service with its store, and agents on machines
// in memory, over real HTTP and TLS. It kills each of them at each point of a move and compares what clients were
// answered with what the owner has.
package inprocess_test

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend/mem"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/pki"
)

// atOnce is how many clusters there are at a time: they wait more than they work.
const atOnce = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// longest is the bound of everything that has to happen by itself, on a machine with much else to do.
const longest = 60 * time.Second

// world is a cluster with its clients.
type world struct {
	t         *testing.T
	authority *pki.Authority
	service   *service
	nodes     []*node
	user      *api.Client
	ledger    *ledger
	log       *record
	slow      atomic.Int64 // how long a report to the control service takes, in nanoseconds

	shelf *mem.Shelf     // network storage that all nodes have beside their own
	later sync.WaitGroup // what happens by itself after a while
	mu    sync.Mutex
	ended bool
	ports map[string]int // external ports of applications
}

// newWorld starts a control service and the agents of some nodes, and waits until they have met.
func newWorld(t *testing.T, nodes int) *world {
	t.Helper()
	authority, err := pki.CreateAuthority("in one process")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, authority: authority, shelf: mem.NewShelf(), ledger: newLedger(), log: newRecord(), ports: map[string]int{}}
	t.Cleanup(func() {
		if t.Failed() {
			w.log.show(t)
		}
	})
	w.service = newService(w)
	w.user = api.NewClient([]string{w.service.users}, pki.ClientTLS(w.credentials(authority.IssueUser("test", pki.RoleAdmin)), pki.ExpectControl()))
	t.Cleanup(w.user.Close)
	for i := range nodes {
		n := newNode(w, fmt.Sprintf("node%d", i+1))
		w.nodes = append(w.nodes, n)
		n.start()
		t.Cleanup(func() {
			n.bury()
			n.engine.Reboot()
		})
	}
	t.Cleanup(func() {
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		w.later.Wait()
	})
	w.until("all nodes are alive", func() bool {
		all, err := w.user.Nodes(t.Context())
		alive := 0
		for _, n := range all {
			if n.IsAlive {
				alive++
			}
		}
		return err == nil && alive == nodes
	})
	return w
}

func (w *world) credentials(issued pki.Issued, err error) *pki.Credentials {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := pki.NewCredentials(w.authority.CertificatePEM(), issued)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// after does something a little later, unless the test has ended by then.
func (w *world) after(d time.Duration, f func()) {
	w.later.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		<-timer.C
		w.mu.Lock()
		ended := w.ended
		w.mu.Unlock()
		if !ended {
			f()
		}
	})
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(longest)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			w.dump()
			w.t.Fatalf("not within %v: %s", longest, what)
		}
	}
}

func (w *world) dump() {
	status, err := w.user.Status(w.t.Context())
	if err != nil {
		w.t.Logf("status: %v", err)
	}
	for _, m := range status.Moves {
		w.t.Logf("move %s is %s: %s", m.ID, m.Phase, m.Reason)
	}
	for _, p := range status.Pending {
		w.t.Logf("pending: %s on %s: %s: %s", p.Object, p.Node, p.Step, p.Reason)
	}
	for _, a := range status.Applications {
		w.t.Logf("application %s on %s: %+v, elsewhere %+v", a.Name, a.NodeName, a.Container, a.Elsewhere)
	}
}

func (w *world) port(app string) network.Port {
	w.mu.Lock()
	defer w.mu.Unlock()
	return network.Port{Protocol: "tcp", Number: w.ports[app]}
}

// deploy runs an application with some datasets on a node, and waits until it serves.
func (w *world) deploy(app string, on *node, datasets int, change func(*cluster.Application)) {
	w.t.Helper()
	w.deployIn(app, on, make([]string, datasets), change)
}

// deployIn is deploy with a dataset in each of some back ends.
func (w *world) deployIn(app string, on *node, ends []string, change func(*cluster.Application)) {
	w.t.Helper()
	w.mu.Lock()
	port := 5000 + len(w.ports)
	w.ports[app] = port
	w.mu.Unlock()
	a := cluster.Application{
		Name: app, Image: image, Node: cluster.NodeID(on.name), Restart: cluster.RestartPolicy{Name: cluster.RestartAlways},
		Ports: []cluster.Port{{Internal: 5432, External: port}},
	}
	r := api.DeployRequest{}
	for i, end := range ends {
		name := fmt.Sprintf("%s-%d", app, i)
		r.Datasets = append(r.Datasets, cluster.Dataset{Name: name, Backend: end})
		a.Volumes = append(a.Volumes, cluster.Volume{Dataset: cluster.DatasetID(name), MountPoint: "/" + name})
	}
	if change != nil {
		change(&a)
	}
	r.Applications = []cluster.Application{a}
	if _, err := w.user.Deploy(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	w.until(app+" serves", func() bool { return on.heard(app) })
	w.served(app)
}

// served waits until clients of an application get answers.
func (w *world) served(app string) {
	w.t.Helper()
	at := w.ledger.count(app)
	w.until("clients of "+app+" are served", func() bool { return w.ledger.count(app) > at+3 })
}

// ask asks for a move; the time to get ready is short enough for tests.
func (w *world) ask(app string, to *node) cluster.MoveID {
	w.t.Helper()
	m, err := w.user.CreateMove(w.t.Context(), api.MoveRequest{
		Application: app, Node: to.name, Options: cluster.MoveOptions{ReadyTimeout: cluster.Duration(5 * time.Second)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return m.ID
}

// wait waits until a move has ended. The stream that tells of it breaks with the control service.
func (w *world) wait(id cluster.MoveID) cluster.Move {
	w.t.Helper()
	var m cluster.Move
	w.until(fmt.Sprintf("move %s ends", id), func() bool {
		ctx, cancel := context.WithTimeout(w.t.Context(), longest)
		defer cancel()
		err := w.user.WatchMove(ctx, string(id), func(info api.MoveInfo) error {
			m = info.Move
			return nil
		})
		return err == nil && m.Phase.Terminal()
	})
	return m
}

// move moves an application and waits until everything is at rest again.
func (w *world) move(app string, to *node) cluster.Move {
	w.t.Helper()
	m := w.wait(w.ask(app, to))
	w.rest()
	return m
}

// dataset is the id of a named dataset.
func (w *world) dataset(name string) cluster.DatasetID {
	w.t.Helper()
	d, err := w.user.Dataset(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return d.ID
}
