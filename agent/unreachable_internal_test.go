// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flocker-project/flocker/converge"
)

// refusing is a network on which some do not answer.
type refusing struct {
	Network
	mu      sync.Mutex
	silent  []netip.Addr
	times   int
	refused []netip.Addr
}

func (r *refusing) Silent(_ context.Context, addrs []netip.Addr, wait time.Duration) ([]netip.Addr, error) {
	<-time.After(wait)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(addrs), func(addr netip.Addr) bool { return !slices.Contains(r.silent, addr) }), nil
}

func (r *refusing) Refuse(_ context.Context, addrs []netip.Addr, limit time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit <= recheckAfter {
		return context.DeadlineExceeded
	}
	r.refused, r.times = addrs, r.times+1
	return nil
}

// Connections to applications of dead nodes are refused, those to applications of nodes that only lost the control service go on.
func TestApplicationsOfDeadNodesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, lost := netip.MustParseAddr("10.144.0.9"), netip.MustParseAddr("10.144.0.10")
		net := &refusing{silent: []netip.Addr{dead}}
		a := &Agent{Config: Config{Network: net, Log: slog.New(slog.DiscardHandler)}, member: make(chan struct{})}
		u := &unreachable{agent: a, wake: converge.NewWaker()}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = u.run(ctx) }) // ends with ctx, which is its error
		expect := func(what string, times int, addrs ...netip.Addr) {
			t.Helper()
			synctest.Wait()
			net.mu.Lock()
			defer net.mu.Unlock()
			if !slices.Equal(net.refused, addrs) || net.times != times {
				t.Errorf("%s: %v are refused, told %d times; want %v, %d times", what, net.refused, net.times, addrs, times)
			}
		}
		suspects := map[string]string{"db": dead.String(), "web": lost.String()}
		u.suspect(suspects)
		expect("before the node is a member", 0)
		close(a.member)
		expect("of a former process", 1)
		<-time.After(answersWithin)
		expect("one is silent", 2, dead)
		u.suspect(suspects)
		expect("nothing new", 2, dead)
		net.mu.Lock()
		net.silent = []netip.Addr{dead, lost}
		net.mu.Unlock()
		<-time.After(recheckAfter + answersWithin)
		expect("the other is silent too by now", 3, dead, lost)
		u.suspect(map[string]string{"web": lost.String()})
		expect("one is back, before the other is asked again", 4, lost)
		<-time.After(answersWithin)
		expect("the other is asked", 5, lost)
		u.suspect(nil)
		expect("all are back", 6)
		<-time.After(3 * recheckAfter)
		expect("much later", 6)
		cancel()
		running.Wait()
	})
}

// What an earlier process refused is over with the next one.
func TestNextProcessForgetsWhatWasRefused(t *testing.T) {
	net := &refusing{refused: []netip.Addr{netip.MustParseAddr("10.144.0.9")}}
	u := &unreachable{agent: &Agent{Config: Config{Network: net}}, wake: converge.NewWaker()}
	for range 2 {
		if err := u.settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(net.refused) != 0 || net.times != 1 {
		t.Errorf("%v are refused, told %d times; want none, once", net.refused, net.times)
	}
}
