// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
)

// published counts how often the rules were made or compared.
type published struct {
	Network
	times            int
	last             []network.Publication
	lives, enlivened []netip.Addr
}

func (p *published) Lives(context.Context) ([]netip.Addr, error) { return p.lives, nil }

func (p *published) Live(_ context.Context, addrs []netip.Addr) error {
	p.lives = addrs
	return nil
}

func (p *published) Enliven(_ context.Context, addr netip.Addr) error {
	p.enlivened = append(p.enlivened, addr)
	return nil
}

func (p *published) Hold(context.Context, netip.Addr, time.Duration) error { return nil }

func (p *published) Publish(_ context.Context, set []network.Publication) error {
	p.times++
	p.last = set
	return nil
}

// Rounds come in crowds: rules that are as they should be are compared again only now and then, and changed at once.
func TestRulesAreComparedNowAndThenAndChangedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := &published{}
		e := &exposure{agent: &Agent{Config: Config{Network: rules}}}
		desired := cluster.NewDesired()
		desired.Complete, desired.Session = true, "s"
		desired.Nodes["n"] = cluster.Node{ID: "n", Session: "s", BootID: "b"}
		desired.Applications["db"] = cluster.Application{
			Name: "db", Node: "n", Address: "10.144.0.9", Ports: []cluster.Port{{Internal: 1, External: 2}},
		}
		observed := cluster.Observed{Node: "n", BootID: "b", Session: "s", Containers: map[string]cluster.Container{}}
		settle := func() {
			if err := e.settle(t.Context(), desired, observed, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			settle()
		}
		if rules.times != 1 {
			t.Errorf("10 rounds in which nothing changed looked at the rules %d times; want once", rules.times)
		}
		<-time.After(recheckAfter)
		if settle(); rules.times != 2 {
			t.Errorf("after %v the rules were looked at %d times; want twice", recheckAfter, rules.times)
		}
		observed.Containers["db"] = cluster.Container{Application: "db", State: cluster.ContainerRunning, GateOpen: true}
		if settle(); rules.times != 3 || len(rules.lives) != 1 || len(rules.last) != 1 || rules.last[0].External != 2 {
			t.Errorf("an application that runs now: %d times, %v heard, ports %+v; want it at once", rules.times, rules.lives, rules.last)
		}
	})
}

// A move that holds connections and comes to nothing lets them go on where the application is.
func TestHoldOfAMoveThatCameToNothingEnds(t *testing.T) {
	rules := &published{}
	e := &exposure{agent: &Agent{Config: Config{Network: rules}}}
	desired := cluster.NewDesired()
	desired.Complete, desired.Session = true, "s"
	desired.Nodes["n"] = cluster.Node{ID: "n", Session: "s", BootID: "b"}
	app := cluster.Application{Name: "db", Node: "n", Address: "10.144.0.9"}
	desired.Applications["db"] = app
	observed := cluster.Observed{Node: "n", BootID: "b", Session: "s", Containers: map[string]cluster.Container{}}
	is := func(state cluster.ContainerState, ready bool) func() error {
		return func() error {
			observed.Containers["db"] = cluster.Container{Application: "db", State: state, Ready: ready, GateOpen: true}
			return e.settle(t.Context(), desired, observed, time.Now())
		}
	}
	notYet := func() error {
		if len(rules.enlivened) > 0 {
			t.Error("connections were let go to an application that is not ready")
		}
		return nil
	}
	for _, step := range []func() error{
		is(cluster.ContainerRunning, true),
		func() error { return e.Hold(t.Context(), app) },
		is(cluster.ContainerExited, false), notYet,
		is(cluster.ContainerRunning, false), notYet,
		is(cluster.ContainerRunning, true),
		is(cluster.ContainerRunning, true),
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if len(rules.enlivened) != 1 {
		t.Errorf("after the move connections to %v were let go; want those to %s, once", rules.enlivened, app.Address)
	}
}

// What a round saw before a move's function decided does not undo that.
func TestLookBeforeADecisionDoesNotUndoIt(t *testing.T) {
	rules := &published{}
	e := &exposure{agent: &Agent{Config: Config{Network: rules}}, here: map[string]netip.Addr{}}
	desired := cluster.NewDesired()
	desired.Complete, desired.Session = true, "s"
	desired.Nodes["n"] = cluster.Node{ID: "n", Session: "s", BootID: "b"}
	app := cluster.Application{Name: "db", Node: "n", Address: "10.144.0.9"}
	desired.Applications["db"] = app
	observed := cluster.Observed{Node: "n", BootID: "b", Session: "s", Containers: map[string]cluster.Container{
		"db": {Application: "db", State: cluster.ContainerRunning, GateOpen: false}, // as it was before
	}}
	looked := time.Now()
	settle := func(looked time.Time) {
		t.Helper()
		if err := e.settle(t.Context(), desired, observed, looked); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.decide(app, func(addr netip.Addr) error { e.here["db"] = addr; return nil }); err != nil {
		t.Fatal(err)
	}
	if settle(looked); len(rules.lives) != 1 {
		t.Errorf("a look from before the commit made the application unheard: %v", rules.lives)
	}
	<-time.After(recheckAfter / 1000) // the clock goes on
	if settle(time.Now()); len(rules.lives) != 0 {
		t.Errorf("its gate is closed and %v are heard", rules.lives)
	}
}
