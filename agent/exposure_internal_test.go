// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/converge"
	"github.com/flocker-project/flocker/network"
)

// published counts how often the rules were made or compared.
type published struct {
	Network
	times            int
	last             []network.Publication
	lives, enlivened []netip.Addr
	holds            []netip.Addr // that an earlier process made
}

func newExposure(rules Network) *exposure {
	return &exposure{agent: &Agent{
		Config: Config{Network: rules, Log: slog.New(slog.DiscardHandler)},
		wake:   converge.NewWaker(), unreachable: &unreachable{wake: converge.NewWaker()},
	}}
}

func (p *published) Lives(context.Context) ([]netip.Addr, error) { return p.lives, nil }

func (p *published) Holds(context.Context) ([]netip.Addr, error) { return p.holds, nil }

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
		e := newExposure(rules)
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
	e := newExposure(rules)
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
	e := newExposure(rules)
	e.here = map[string]netip.Addr{}
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

// Who waits longer than the limit is refused, until the move that holds them has ended.
func TestConnectionsThatWaitTooLongAreSuspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExposure(&published{})
		defer e.agent.wake.Stop()
		desired := cluster.NewDesired()
		desired.Complete, desired.Session = true, "s"
		desired.Nodes["n"] = cluster.Node{ID: "n", Session: "s", BootID: "b"}
		app := cluster.Application{Name: "db", Node: "n", Address: "10.144.0.9", Move: "m"}
		desired.Applications["db"] = app
		observed := cluster.Observed{Node: "n", BootID: "b", Session: "s", Claims: map[cluster.MoveID]bool{"m": true}}
		expect := func(when string, want int) {
			t.Helper()
			if err := e.settle(t.Context(), desired, observed, time.Now()); err != nil {
				t.Fatal(err)
			}
			if n := len(e.agent.unreachable.dead); n != want {
				t.Errorf("%s: %v are suspected; want %d", when, e.agent.unreachable.dead, want)
			}
		}
		if err := e.Hold(t.Context(), app); err != nil {
			t.Fatal(err)
		}
		expect("at once", 0)
		<-time.After(holdFor + 2*time.Millisecond)
		expect("after the limit", 1)
		app.Move = ""
		desired.Applications["db"] = app
		observed.Claims = nil
		observed.Containers = map[string]cluster.Container{"db": {Application: "db", State: cluster.ContainerRunning, Ready: true, GateOpen: true}}
		expect("when the move has ended", 0)
	})
}

// The next process of an agent ends the holds of its former one as that one would have: when the application is ready.
func TestNextProcessEndsTheHoldsOfTheFormer(t *testing.T) {
	rules := &published{holds: []netip.Addr{netip.MustParseAddr("10.144.0.9")}}
	e := newExposure(rules)
	defer e.agent.wake.Stop()
	desired := cluster.NewDesired()
	desired.Complete, desired.Session = true, "s"
	desired.Nodes["n"] = cluster.Node{ID: "n", Session: "s", BootID: "b"}
	desired.Applications["db"] = cluster.Application{Name: "db", Node: "n", Address: "10.144.0.9"}
	observed := cluster.Observed{Node: "n", BootID: "b", Session: "s"}
	for i, ready := range []bool{false, true, true} {
		observed.Containers = map[string]cluster.Container{"db": {Application: "db", State: cluster.ContainerRunning, Ready: ready, GateOpen: true}}
		if err := e.settle(t.Context(), desired, observed, time.Now()); err != nil {
			t.Fatal(err)
		}
		if want := min(i, 1); len(rules.enlivened) != want {
			t.Errorf("round %d, ready %v: %v were let go; want %d", i, ready, rules.enlivened, want)
		}
	}
}
