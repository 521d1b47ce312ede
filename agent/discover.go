// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// discover looks at everything on the node. An error means that the look is not
// complete, and then nothing may be planned on it.
func (a *Agent) discover(ctx context.Context) (cluster.Observed, error) {
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
	if o.Storage, o.Copies, err = a.Pool.Observe(ctx); err != nil {
		return o, fmt.Errorf("look at storage: %w", err)
	}
	desired, _ := a.mirror.read()
	before := desired.Elsewhere[a.Node].Containers
	var wait time.Duration
	if o.Overdue, wait = a.lives.overdue(desired, a.Node, overdueGrace); wait > 0 {
		a.wake.WakeAfter(wait)
	}
	found, err := a.Engine.List(ctx)
	if err != nil {
		return o, fmt.Errorf("look at containers: %w", err)
	}
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
	root := filepath.Dir(a.Pool.MountPath("any"))
	for _, m := range f.Mounts {
		rel, err := filepath.Rel(root, m)
		if err != nil || rel == "." || strings.HasPrefix(rel, "..") {
			continue
		}
		id, _, _ := strings.Cut(rel, string(filepath.Separator))
		foreign[cluster.DatasetID(id)] = f.Name
	}
}

// place is where an application's holder is on the network.
type place struct{ netns, address string }

// place finds the application's holder. A place that was seen before is good as long
// as the namespace is there: it belongs to one process.
func (a *Agent) place(ctx context.Context, app string) (place, error) {
	a.mu.Lock()
	p, known := a.places[app]
	a.mu.Unlock()
	if known {
		if _, err := os.Stat(p.netns); err == nil {
			return p, nil
		}
	}
	found, err := a.Engine.List(ctx)
	if err != nil {
		return place{}, err
	}
	for _, f := range found {
		if f.Ours && f.Application == app && f.Netns != "" {
			return a.sawPlace(f), nil
		}
	}
	return place{}, fmt.Errorf("network namespace of application %s: %w", app, container.ErrNotFound)
}

func (a *Agent) sawPlace(f container.Found) place {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := place{netns: f.Netns, address: f.Address}
	if p.netns == "" {
		delete(a.places, f.Application)
	} else {
		a.places[f.Application] = p
	}
	return p
}
