// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/plan"
)

// exposure keeps the node's published ports as the plan wants them, and lets a move's
// function take an application's ports away or bring them in without waiting for
// the loop. While the function runs, the plan leaves them as they are.
type exposure struct {
	agent *Agent

	mu      sync.Mutex
	ports   map[string][]network.Publication // by application
	checked time.Time                        // when the kernel's rules were last compared with ports
}

// recheckAfter is how long the kernel's rules are taken to be as they were made: rounds come in crowds, and a look
// at the rules costs more than the rest of a round.
const recheckAfter = 10 * time.Second

// settle publishes what the plan says.
func (e *exposure) settle(ctx context.Context, d cluster.Desired, o cluster.Observed) error {
	want := plan.Publications(d, o)
	if !want.Known {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	ports := map[string][]network.Publication{}
	for app := range want.Leave {
		if p, ok := e.ports[app]; ok {
			ports[app] = p
		}
	}
	for _, p := range want.Publications {
		ports[p.Application] = append(ports[p.Application], network.Publication{
			Application: p.Application, Protocol: p.Protocol,
			External: p.External, Address: p.Address, Internal: p.Internal,
		})
	}
	if maps.EqualFunc(ports, e.ports, slices.Equal) && time.Since(e.checked) < recheckAfter {
		return nil
	}
	e.ports = ports
	return e.publish(ctx)
}

// publish makes the kernel's rules what ports says.
func (e *exposure) publish(ctx context.Context) error {
	var set []network.Publication
	for _, ports := range e.ports {
		set = append(set, ports...)
	}
	slices.SortFunc(set, func(a, b network.Publication) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.External, b.External))
	})
	e.checked = time.Time{}
	if err := e.agent.Network.Publish(ctx, set); err != nil {
		return err
	}
	e.checked = time.Now()
	return nil
}

// Hide takes the application's ports away at once.
func (e *exposure) Hide(ctx context.Context, app string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ports, app)
	if err := e.publish(ctx); err != nil {
		return fmt.Errorf("take the ports of application %s away: %w", app, err)
	}
	return nil
}

// Expose opens the application's gate and publishes its ports at once. It is only for
// after a commit; while the move's function runs, the plan leaves them as they are.
func (e *exposure) Expose(ctx context.Context, app cluster.Application, _ cluster.Revision) error {
	at, err := e.agent.place(ctx, app.Name)
	if err != nil {
		return err
	}
	if err := e.agent.Network.SetGate(ctx, at.netns, true); err != nil {
		return fmt.Errorf("open the gate of application %s: %w", app.Name, err)
	}
	var ports []network.Publication
	for _, p := range app.Ports {
		ports = append(ports, network.Publication{
			Application: app.Name, Protocol: cmp.Or(p.Protocol, "tcp"),
			External: p.External, Address: at.address, Internal: p.Internal,
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ports[app.Name] = ports
	return e.publish(ctx)
}
