// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/converge"
	"github.com/flocker-project/flocker/network"
)

const (
	// renewEvery is how often the control service is asked whether applications that can be taken over may still be heard.
	renewEvery = time.Second
	// clocksApart is what the clocks of the kernel and of the control service may differ by within a session's time-out.
	clocksApart = time.Second
)

// term keeps the applications that ask to be taken over by themselves heard from this node for as long as the control service says so, and
// no longer: the kernel ends it, whatever becomes of this process (rule 8).
//
// A question counts for half of a session's time-out, and so does its answer from when the kernel is told of it. So all that an answer
// allows has ended when the session that it was asked in can end, and only then another node may take an application over.
type term struct {
	agent *Agent
	wake  *converge.Waker

	mu     sync.Mutex
	wanted map[string]netip.Addr // applications of this node that ask for it
	// confined are whom the kernel keeps unheard without an answer; nil before the first look.
	confined map[netip.Addr]bool
	looked   time.Time

	failing bool // of the loop alone: that it could not ask was said
}

// want takes in which of this node's applications ask to be taken over by themselves.
func (t *term) want(d cluster.Desired) {
	wanted := map[string]netip.Addr{}
	for name, a := range d.Applications {
		addr, err := netip.ParseAddr(a.Address)
		if err == nil && a.FailOver != nil && a.Node == t.agent.Node && !a.Deleted {
			wanted[name] = addr
		}
	}
	t.mu.Lock()
	changed := !maps.Equal(t.wanted, wanted)
	t.wanted = wanted
	t.mu.Unlock()
	if changed {
		t.wake.Wake()
	}
}

// confines are the applications that ask for it and that the kernel keeps unheard without an answer. From when the control service has
// been told of one until it has been told otherwise it stays confined: free takes in what it was told last.
func (t *term) confines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(t.wanted)) {
		if t.confined[t.wanted[name]] {
			names = append(names, name)
		}
	}
	return names
}

// free ends the confinement of all but those of whom the control service was just told that they are confined, and of those that belong
// elsewhere by now and are still here: they would be heard until they are stopped.
func (t *term) free(ctx context.Context, d cluster.Desired, told cluster.Observed) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	stay := map[netip.Addr]bool{}
	for _, name := range told.Confined {
		if addr, err := netip.ParseAddr(d.Applications[name].Address); err == nil {
			stay[addr] = true
		}
	}
	for name, c := range told.Containers {
		if addr, err := netip.ParseAddr(c.Address); err == nil && d.Applications[name].Node != t.agent.Node {
			stay[addr] = true
		}
	}
	for _, addr := range t.wanted {
		stay[addr] = stay[addr] || t.confined[addr] // made since
	}
	kept := maps.Clone(t.confined)
	maps.DeleteFunc(kept, func(addr netip.Addr, _ bool) bool { return !stay[addr] })
	return t.confine(ctx, kept)
}

// confine changes the kernel where it differs. The lock is held.
func (t *term) confine(ctx context.Context, addrs map[netip.Addr]bool) error {
	if t.confined == nil || maps.Equal(t.confined, addrs) {
		return nil
	}
	if err := t.agent.Network.Confine(ctx, slices.SortedFunc(maps.Keys(addrs), netip.Addr.Compare)); err != nil {
		t.confined = nil // not known
		return err
	}
	t.confined = addrs
	return nil
}

// run asks while an application wants it.
func (t *term) run(ctx context.Context) error {
	select {
	case <-t.agent.member: // before, there is nothing to confine anyone in
	case <-ctx.Done():
		return ctx.Err()
	}
	loop := converge.Loop{Wake: t.wake, Round: t.round, Log: t.agent.Log.With("about", "applications that can be taken over")}
	return loop.Run(ctx)
}

func (t *term) round(ctx context.Context) error {
	wanted, err := t.look(ctx)
	if err != nil || len(wanted) == 0 {
		return err
	}
	t.wake.WakeAfter(renewEvery)
	_, session := t.agent.mirror.read()
	if session.ID == "" {
		return nil
	}
	t.tell(wanted, t.renew(ctx, session, wanted))
	return ctx.Err() // the next try is soon
}

// tell says once that the control service is not asked in time, and once that it is again.
func (t *term) tell(wanted map[string]netip.Addr, err error) {
	if failing := err != nil; failing == t.failing {
		return
	}
	if t.failing = err != nil; t.failing {
		t.agent.Log.Warn("the control service was not asked in time who may be heard; applications that it can take over go unheard until it is",
			"applications", slices.Sorted(maps.Keys(wanted)), "error", err)
		return
	}
	t.agent.Log.Info("the control service says again who may be heard")
}

// look reads back from the kernel who is confined, now and then, and returns who wants to be.
func (t *term) look(ctx context.Context) (map[string]netip.Addr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.confined != nil && time.Since(t.looked) < recheckAfter || t.confined != nil && len(t.wanted) == 0 {
		return t.wanted, nil
	}
	all, err := t.agent.Network.Confined(ctx)
	if err != nil {
		return nil, err
	}
	found := map[netip.Addr]bool{}
	for _, addr := range all {
		found[addr] = true
	}
	if !maps.Equal(found, t.confined) {
		t.agent.wake.Wake() // to tell of it
	}
	t.confined, t.looked = found, time.Now()
	return t.wanted, nil
}

// renew asks for another while. Whoever is allowed for the first time is confined after that, so that it is never unheard for want of an
// answer.
func (t *term) renew(ctx context.Context, session api.Session, wanted map[string]netip.Addr) error {
	limit := (session.TTL.Std() - clocksApart) / 2
	if limit < 2*renewEvery {
		return fmt.Errorf("a session's time-out of %v is too short for it", session.TTL)
	}
	if err := t.agent.Network.Ask(ctx, limit); err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	reply, err := t.agent.Link.Renew(asking, api.RenewRequest{Session: session.ID, Applications: slices.Sorted(maps.Keys(wanted))})
	if err != nil {
		return err
	}
	var allowed []netip.Addr
	for _, name := range reply.Applications {
		addr, ok := wanted[name]
		if !ok {
			return fmt.Errorf("the control service allows %q, which was not asked for", name)
		}
		allowed = append(allowed, addr)
	}
	if err := t.agent.Network.Allow(ctx, allowed, limit); err != nil {
		if errors.Is(err, network.ErrLate) {
			t.wake.Wake()
		}
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.confined == nil {
		return nil
	}
	more := maps.Clone(t.confined)
	for _, addr := range allowed {
		more[addr] = true
	}
	if len(more) > len(t.confined) {
		t.agent.wake.Wake() // to tell of it
	}
	return t.confine(ctx, more)
}
