// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/flocker-project/flocker/converge"
)

const (
	// answersWithin bounds how long a node is asked for an application whose session is over.
	answersWithin = time.Second
	// refuseFor is how long the kernel refuses without being told again. It is told every recheckAfter.
	refuseFor = 3 * recheckAfter
)

// unreachable refuses at once what would wait for applications of dead nodes. That a node's session is over is no proof of
// its death: one that lost only the control service serves on. So the applications are asked for on the network itself.
type unreachable struct {
	agent *Agent
	wake  *converge.Waker

	mu   sync.Mutex
	dead map[string]string // addresses of applications whose nodes have no session, by name

	// Of the loop alone.
	refused []netip.Addr
	known   bool // what the kernel refuses is what this process told it
}

// suspect takes in whose nodes have no session.
func (u *unreachable) suspect(dead map[string]string) {
	u.mu.Lock()
	changed := !maps.Equal(u.dead, dead)
	u.dead = dead
	u.mu.Unlock()
	if changed {
		u.wake.Wake()
	}
}

// run looks when the suspicion changes, and now and then while there is one.
func (u *unreachable) run(ctx context.Context) error {
	select {
	case <-u.agent.member: // before, nothing is led anywhere
	case <-ctx.Done():
		return ctx.Err()
	}
	loop := converge.Loop{Wake: u.wake, Round: u.settle, Log: u.agent.Log.With("about", "applications of dead nodes")}
	return loop.Run(ctx)
}

func (u *unreachable) settle(ctx context.Context) error {
	dead, err := u.addresses()
	if err != nil {
		return err
	}
	// Who is back is served before the others are asked for.
	still := slices.DeleteFunc(slices.Clone(u.refused), func(addr netip.Addr) bool { return !slices.Contains(dead, addr) })
	if !u.known || len(still) < len(u.refused) {
		if err := u.refuse(ctx, still); err != nil {
			return err
		}
	}
	if len(dead) == 0 {
		return nil
	}
	u.wake.WakeAfter(recheckAfter)
	silent, err := u.agent.Network.Silent(ctx, dead, answersWithin)
	if err != nil {
		return err
	}
	if now, err := u.addresses(); err != nil || !slices.Equal(now, dead) {
		return err // it woke this loop again: one of them may just have come back
	}
	return u.refuse(ctx, silent)
}

// refuse makes the kernel refuse exactly these.
func (u *unreachable) refuse(ctx context.Context, addrs []netip.Addr) error {
	u.known = false
	if err := u.agent.Network.Refuse(ctx, addrs, refuseFor); err != nil {
		return err
	}
	if !slices.Equal(addrs, u.refused) {
		u.agent.Log.Info("connections to applications that do not answer are refused", "addresses", addrs)
	}
	u.refused, u.known = addrs, true
	return nil
}

// addresses are those of the applications that are suspected, in order.
func (u *unreachable) addresses() ([]netip.Addr, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []netip.Addr
	for _, text := range u.dead {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		all = append(all, addr)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
}
