// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// discover looks at everything on the node. An error means that the look is not
// complete, and then nothing may be planned on it. A back end that cannot be looked at is no error: what is in it is unknown, and
// the planner leaves that alone.
func (a *Agent) discover(ctx context.Context, desired cluster.Desired) (cluster.Observed, error) {
	o := cluster.Observed{
		Node:       a.Node,
		BootID:     a.Self.BootID,
		Containers: map[string]cluster.Container{},
		Foreign:    map[cluster.DatasetID]string{},
		Claims:     a.objects.claimed(),
	}
	var err error
	if o.Noted, err = a.Notes.List(); err != nil {
		return o, fmt.Errorf("read the notes of hand-overs: %w", err)
	}
	held, err := a.Pools.Observe(ctx)
	if err != nil {
		return o, fmt.Errorf("look at storage: %w", err)
	}
	o.Storage, o.Further, o.Copies = held.First, held.Further, held.Copies
	recall(&o, desired.Elsewhere[a.Node])
	before := desired.Elsewhere[a.Node].Containers
	var wait time.Duration
	if o.Overdue, wait = a.lives.overdue(desired, a.Node, overdueGrace); wait > 0 {
		a.wake.WakeAfter(wait)
	}
	found, err := a.Engine.List(ctx)
	if err != nil {
		return o, fmt.Errorf("look at containers: %w", err)
	}
	o.Ports = a.listeners.withContainers(found)
	a.forgetPlaces(found)
	for _, f := range found {
		if !f.Ours {
			a.noteForeign(o.Foreign, f)
			continue
		}
		c := a.lives.saw(f.Container, before[f.Application])
		if a.sawPlace(f); f.Netns != "" {
			if c.GateOpen, err = a.Network.GateOpen(ctx, f.Netns); err != nil {
				return o, fmt.Errorf("look at the gate of application %s: %w", c.Application, err)
			}
			app := desired.Applications[c.Application]
			c.Ready = a.ready.of(ctx, c, app, func(ctx context.Context) error { return a.mover.Ready(ctx, app, f.Netns) }, a.wake.Wake)
		}
		o.Containers[c.Application] = c
	}
	return o, nil
}

// noteForeign records the datasets that a container which is not ours uses.
func (a *Agent) noteForeign(foreign map[cluster.DatasetID]string, f container.Found) {
	root := a.Pools.MountRoot()
	for _, m := range f.Mounts {
		rel, err := filepath.Rel(root, m)
		if err != nil || rel == "." || strings.HasPrefix(rel, "..") {
			continue
		}
		id, _, _ := strings.Cut(rel, string(filepath.Separator))
		foreign[cluster.DatasetID(id)] = f.Name
	}
	a.noteVolumes(foreign, f)
}

// place finds the application's network namespace. One that was seen before is good as long as it is there: it belongs
// to one process.
func (a *Agent) place(ctx context.Context, app string) (string, error) {
	a.mu.Lock()
	netns, known := a.places[app]
	a.mu.Unlock()
	if known {
		if _, err := os.Stat(netns); err == nil {
			return netns, nil
		}
	}
	found, err := a.Engine.List(ctx)
	if err != nil {
		return "", err
	}
	for _, f := range found {
		if f.Ours && f.Application == app && f.Netns != "" {
			a.sawPlace(f)
			return f.Netns, nil
		}
	}
	return "", fmt.Errorf("network namespace of application %s: %w", app, container.ErrNotFound)
}

// forgetPlaces forgets those whose holders are gone.
func (a *Agent) forgetPlaces(found []container.Found) {
	there := map[string]bool{}
	for _, f := range found {
		there[f.Application] = there[f.Application] || f.Ours && f.Netns != ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.places, func(app, _ string) bool { return !there[app] })
}

func (a *Agent) sawPlace(f container.Found) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.Netns == "" {
		delete(a.places, f.Application)
	} else {
		a.places[f.Application] = f.Netns
	}
}
