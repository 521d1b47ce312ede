// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// ground is what a move's function stands on: the agent's view, brought forward by
// what the function has stored and done. Every step is asked of the planner first.
type ground struct {
	mu      sync.Mutex
	desired cluster.Desired
	seen    cluster.Observed
}

func (n *Node) ground(m cluster.Move) *ground {
	desired, seen := n.View()
	return &ground{desired: plan.Advance(desired, m), seen: seen}
}

// advance takes in a move as the store has it now.
func (g *ground) advance(m cluster.Move) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.desired = plan.Advance(g.desired, m)
}

// looked takes in what a look at the back ends of datasets found.
func (g *ground) looked(sets []cluster.Dataset, held backend.Contents) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen.Copies, g.seen.Further = held.Copies, maps.Clone(g.seen.Further)
	for _, end := range endsOf(sets) {
		if now := held.Back(end); now.Backend == held.First.Backend {
			g.seen.Storage = now
		} else if g.seen.Further != nil {
			g.seen.Further[now.Backend] = now
		}
	}
}

// saw takes in a snapshot that has come to be on this node.
func (g *ground) saw(id cluster.DatasetID, s cluster.Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.seen.Copies[id]
	c.Dataset = id
	c.Snapshots = append(slices.Clip(c.Snapshots), s)
	g.seen.Copies = maps.Clone(g.seen.Copies)
	if g.seen.Copies == nil {
		g.seen.Copies = map[cluster.DatasetID]cluster.Copy{}
	}
	g.seen.Copies[id] = c
}

// proved takes in that a head has been shown to have no writes beyond a snapshot.
func (g *ground) proved(id cluster.DatasetID, s cluster.Snapshot) {
	g.saw(id, s)
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.seen.Copies[id]
	c.Divergent, c.InUse = false, ""
	g.seen.Copies[id] = c // a map of our own, made by saw
}

// do takes a step if the planner permits it now.
func (g *ground) do(step plan.Step, act func() error) error {
	g.mu.Lock()
	permitted := plan.Permit(g.desired, g.seen, step)
	g.mu.Unlock()
	if !permitted {
		return fmt.Errorf("%s of %s is not permitted as things stand", step.Kind(), step.Object())
	}
	if err := act(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = plan.Apply(g.desired, g.seen, step)
	return nil
}
