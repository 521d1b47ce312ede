// SPDX-License-Identifier: Apache-2.0

package dockerplugin

import (
	"context"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
)

const (
	// unseenFor is how long a mount counts for which no container runs: Docker may be filling the volume. It may also have died.
	unseenFor = 10 * time.Minute
	// graceFor is how long what this process's predecessor mounted counts before its container runs.
	graceFor = time.Minute
	// endingFor is how long after an Unmount Docker may still list its container as running, without telling when that ends.
	endingFor   = 5 * time.Second
	endingAgain = 100 * time.Millisecond
	againAfter  = 2 * time.Second
)

// hold is what this process remembers of a volume. What counts for longer is Docker's list of running containers.
type hold struct {
	turn chan struct{} // holds one token: calls that change where the volume is come one after another

	// Guarded by the plug-in's mu.
	ids       map[string]time.Time // when each mount was asked for
	unmounted time.Time            // the last time
	unsure    bool                 // a release may still be delivered
}

func (p *Plugin) hold(name string) *hold {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.holds[name]
	if h == nil {
		h = &hold{turn: make(chan struct{}, 1), ids: map[string]time.Time{}}
		p.holds[name] = h
	}
	return h
}

func (h *hold) lock(ctx context.Context) error {
	select {
	case h.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("another call on it has not ended: %w", ctx.Err())
	}
}

func (h *hold) tryLock() bool {
	select {
	case h.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

func (h *hold) unlock() { <-h.turn }

// remember counts a mount, and says whether it is a new one.
func (p *Plugin) remember(h *hold, id string) (anew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, there := h.ids[id]
	h.ids[id] = time.Now()
	return !there
}

// forget ends a mount, and has it looked at whether the volume is still in use.
func (p *Plugin) forget(h *hold, id string) {
	p.mu.Lock()
	delete(h.ids, id)
	h.unmounted = time.Now()
	p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func (p *Plugin) sure(h *hold, sure bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.unsure = !sure
}

func (p *Plugin) isSure(h *hold) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !h.unsure
}

// isOurs says whether a lease is this node's for Docker.
func (p *Plugin) isOurs(l *cluster.Lease) bool {
	return l != nil && l.Node == p.Node && l.Holder == api.HolderDocker
}

// unmount forgets one use. It never waits: the volume is let go of when Docker runs no container with it.
func (p *Plugin) unmount(_ context.Context, q request) (reply, error) {
	p.forget(p.hold(q.Name), q.ID)
	p.Log.Info("volume unmounted", "volume", q.Name, "id", q.ID)
	return reply{}, nil
}

// pending is how long what is mounted may still get a running container; 0 where nothing is.
func (p *Plugin) pending(h *hold) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := time.Duration(0)
	for _, since := range h.ids {
		longest = max(longest, unseenFor-time.Since(since))
	}
	return longest
}

// grace is how long what this process's predecessor may have mounted may still get a running container.
func (p *Plugin) grace(h *hold) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !h.unmounted.IsZero() {
		return 0
	}
	return max(0, graceFor-time.Since(p.started))
}

// ending says whether Docker may list a container as running that has ended.
func (p *Plugin) ending(h *hold) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(h.unmounted) < endingFor
}

// settle lets go of volumes that no container uses any more, until ctx ends.
func (p *Plugin) settle(ctx context.Context) {
	for {
		_, _, changed := p.Local.State()
		again := p.letGo(ctx)
		var timer <-chan time.Time
		var t *time.Timer
		if again > 0 {
			t = time.NewTimer(again)
			timer = t.C
		}
		select {
		case <-changed:
		case <-p.kick:
		case <-timer:
		case <-ctx.Done():
		}
		if t != nil {
			t.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// letGo looks once, and says when to look again where nothing tells.
func (p *Plugin) letGo(ctx context.Context) (again time.Duration) {
	sooner := func(d time.Duration) {
		if again == 0 || d < again {
			again = d
		}
	}
	desired, _, _ := p.Local.State()
	var users map[cluster.DatasetID]string
	for id, lease := range desired.Leases {
		if !p.isOurs(&lease) {
			continue
		}
		name := desired.Datasets[id].Name
		h := p.hold(name)
		if wait := max(p.pending(h), p.grace(h)); wait > 0 {
			sooner(wait)
			continue
		}
		if users == nil {
			var err error
			if users, err = p.Local.Users(ctx); err != nil {
				p.Log.Warn("look who uses volumes", "error", err)
				return againAfter
			}
		}
		switch {
		case users[id] != "": // its end is told
			if p.ending(h) {
				sooner(endingAgain)
			}
		case !h.tryLock():
			sooner(againAfter)
		default:
			if err := p.release(ctx, h, name); err != nil {
				p.Log.Warn("volume is not let go of yet", "volume", name, "error", err)
				sooner(againAfter)
			}
			h.unlock()
		}
	}
	return again
}

// release ends the lease of a volume that nobody uses; the caller has its turn.
func (p *Plugin) release(ctx context.Context, h *hold, name string) error {
	if p.pending(h) > 0 {
		return nil // it was mounted in between
	}
	p.sure(h, false)
	if _, err := ask(ctx, p.Control.ReleaseVolume, name); err != nil {
		return err
	}
	p.sure(h, true)
	p.Log.Info("volume let go of", "volume", name)
	return nil
}

// endUse lets go of a volume that is to be removed, if no container uses it. One that has just ended may still be listed.
func (p *Plugin) endUse(ctx context.Context, name string, id cluster.DatasetID) error {
	h := p.hold(name)
	for {
		users, err := p.Local.Users(ctx)
		if err != nil {
			return err
		}
		if users[id] == "" {
			return p.release(ctx, h, name)
		}
		if !p.ending(h) {
			return nil // the removal is refused with the container's name
		}
		if err := pause(ctx, endingAgain); err != nil {
			return err
		}
	}
}
