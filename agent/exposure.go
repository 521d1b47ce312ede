// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/plan"
)

// exposure leads this node's ports to the applications of the cluster, and keeps who is heard from here as the plan wants
// it. A move's function makes its own application unheard or heard without waiting for the loop; while it runs, the plan
// leaves that one as it is.
type exposure struct {
	agent *Agent

	mu      sync.Mutex
	ports   []network.Publication
	here    map[string]netip.Addr // who is heard from this node, by application; nil before the first look
	held    map[string]held       // whose new connections wait here
	decided map[string]time.Time  // when a move's function last decided, by application
	checked time.Time             // when the kernel's rules were last compared
}

// held is an application whose new connections wait here.
type held struct {
	address netip.Addr
	until   time.Time
	told    bool // that it is later than that
}

const (
	// recheckAfter is how long the kernel's rules are taken to be as they were made: rounds come in crowds, and a look
	// at the rules costs more than the rest of a round.
	recheckAfter = 10 * time.Second
	// holdFor is how long new connections wait for an application that moves; the kernel ends it without us.
	holdFor = 30 * time.Second
)

// settle makes the rules what the plan says of what was looked at from that time on.
func (e *exposure) settle(ctx context.Context, d cluster.Desired, o cluster.Observed, looked time.Time) error {
	want := plan.Publications(d, o)
	if !want.Known {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leaveNewer(want, d, looked)
	first := e.here == nil
	if first {
		if err := e.recall(ctx, d, want.Leave); err != nil {
			return err
		}
	}
	e.leaveUnready(want, o)
	ports := publications(want.Publications)
	here := map[string]netip.Addr{}
	for app := range want.Leave {
		if addr, ok := e.here[app]; ok {
			here[app] = addr
		}
	}
	for app, text := range want.Here {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("address of application %s: %w", app, err)
		}
		here[app] = addr
	}
	unchanged := slices.Equal(ports, e.ports) && maps.Equal(here, e.here)
	if !unchanged || first || time.Since(e.checked) >= recheckAfter {
		if err := e.write(ctx, ports, here); err != nil {
			return err
		}
	}
	if err := e.letGo(ctx, want.Leave); err != nil {
		return err
	}
	e.agent.unreachable.suspect(e.withOverdue(want.Dead))
	return nil
}

// leaveNewer leaves those alone of whom a move's function has decided since: the look did not see it.
func (e *exposure) leaveNewer(want plan.Exposure, d cluster.Desired, looked time.Time) {
	for app, at := range e.decided {
		if at.Before(looked) {
			delete(e.decided, app)
			continue
		}
		delete(want.Here, app)
		want.Leave[app] = d.Applications[app].Address
	}
}

// leaveUnready lets those wait on who are held for an application that is not back yet: it would refuse them. The kernel
// bounds that.
func (e *exposure) leaveUnready(want plan.Exposure, o cluster.Observed) {
	for app, h := range e.held {
		c := o.Containers[app]
		if _, here := want.Here[app]; here && (c.State != cluster.ContainerRunning || !c.Ready) {
			delete(want.Here, app)
			want.Leave[app] = h.address.String()
		}
	}
}

// withOverdue adds those who have waited here for too long: they are refused unless the application answers somewhere.
func (e *exposure) withOverdue(dead map[string]string) map[string]string {
	for app, h := range e.held {
		if !time.Now().After(h.until) {
			continue
		}
		dead[app] = h.address.String()
		if !h.told {
			e.agent.Log.Warn("connections to an application have waited for the whole limit; new ones are refused unless it answers somewhere",
				"application", app, "limit", holdFor)
			h.told = true
			e.held[app] = h
		}
	}
	return dead
}

// recall reads from the kernel who of those that a move decides on was heard when an earlier process ended, and whose
// connections it held. How long those have waited it does not say.
func (e *exposure) recall(ctx context.Context, d cluster.Desired, undecided map[string]string) error {
	lives, err1 := e.agent.Network.Lives(ctx)
	holds, err2 := e.agent.Network.Holds(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	e.here = map[string]netip.Addr{}
	for name, app := range d.Applications {
		if i := slices.IndexFunc(holds, func(h netip.Addr) bool { return h.String() == app.Address }); i >= 0 {
			e.wait(name, holds[i])
		}
	}
	for app, text := range undecided {
		if i := slices.IndexFunc(lives, func(l netip.Addr) bool { return l.String() == text }); i >= 0 {
			e.here[app] = lives[i]
		}
	}
	return nil
}

// write makes the kernel's rules these.
func (e *exposure) write(ctx context.Context, ports []network.Publication, here map[string]netip.Addr) error {
	e.checked = time.Time{}
	if err := e.agent.Network.Publish(ctx, ports); err != nil {
		return err
	}
	if err := e.agent.Network.Live(ctx, slices.SortedFunc(maps.Values(here), netip.Addr.Compare)); err != nil {
		return err
	}
	e.ports, e.here, e.checked = ports, here, time.Now()
	return nil
}

// letGo ends the holds of moves that ended here: the application goes on where it was.
func (e *exposure) letGo(ctx context.Context, undecided map[string]string) error {
	for app, h := range e.held {
		if _, ok := undecided[app]; ok {
			continue
		}
		if e.here[app] == h.address {
			if err := e.agent.Network.Enliven(ctx, h.address); err != nil {
				return fmt.Errorf("end the hold of application %s: %w", app, err)
			}
		}
		delete(e.held, app) // one that is elsewhere has let them go there
	}
	return nil
}

func publications(all []plan.Publication) []network.Publication {
	set := make([]network.Publication, len(all))
	for i, p := range all {
		set[i] = network.Publication{
			Application: p.Application, Protocol: p.Protocol,
			External: p.External, Address: p.Address, Internal: p.Internal,
		}
	}
	slices.SortFunc(set, func(a, b network.Publication) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.External, b.External))
	})
	return set
}

// Hold lets new connections to the application wait; established ones go on.
func (e *exposure) Hold(ctx context.Context, app cluster.Application) error {
	return e.decide(app, func(addr netip.Addr) error {
		e.wait(app.Name, addr)
		return e.agent.Network.Hold(ctx, addr, holdFor)
	})
}

// wait notes that new connections wait here from now on.
func (e *exposure) wait(app string, addr netip.Addr) {
	if e.held == nil {
		e.held = map[string]held{}
	}
	e.held[app] = held{address: addr, until: time.Now().Add(holdFor)}
	e.agent.wake.WakeAfter(holdFor + time.Millisecond)
}

// Hide keeps the application from being heard from this node; all that comes for it waits, where it is held.
func (e *exposure) Hide(ctx context.Context, app cluster.Application) error {
	return e.decide(app, func(addr netip.Addr) error {
		delete(e.here, app.Name)
		return e.agent.Network.Deaden(ctx, addr)
	})
}

// Expose opens the application's gate and lets it be heard from here; what waited for it anywhere comes. It is only for
// after a commit.
func (e *exposure) Expose(ctx context.Context, app cluster.Application, _ cluster.Revision) error {
	at, err := e.agent.place(ctx, app.Name)
	if err != nil {
		return err
	}
	if err := e.agent.Network.SetGate(ctx, at, true); err != nil {
		return fmt.Errorf("open the gate of application %s: %w", app.Name, err)
	}
	return e.decide(app, func(addr netip.Addr) error {
		if e.here == nil {
			e.here = map[string]netip.Addr{}
		}
		e.here[app.Name] = addr
		return e.agent.Network.Enliven(ctx, addr)
	})
}

func (e *exposure) decide(app cluster.Application, do func(netip.Addr) error) error {
	addr, err := netip.ParseAddr(app.Address)
	if err != nil {
		return fmt.Errorf("address of application %s: %w", app.Name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() {
		if e.decided == nil {
			e.decided = map[string]time.Time{}
		}
		e.decided[app.Name] = time.Now()
	}()
	if err := do(addr); err != nil {
		e.checked = time.Time{} // what the kernel has now is not known
		return fmt.Errorf("application %s: %w", app.Name, err)
	}
	return nil
}
