// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/plan"
)

// receiveEndsWithin is longer than a receiver outlives a sender that has given up its stream.
const receiveEndsWithin = 20 * time.Second

// preparation is what the target knows of a move from its source. It is lost with the
// process; then the source prepares again, or the target reads the store.
type preparation struct {
	move     cluster.Move
	apps     []cluster.Application
	datasets map[cluster.DatasetID]cluster.Dataset
	received map[cluster.DatasetID]cluster.Snapshot // newest whole one
	netns    map[string]string                      // by application, gate closed
}

// Prepare gets this node ready to be the target: images, and containers behind closed
// gates. It may be repeated, and says each time which snapshots are here.
func (n *Node) Prepare(ctx context.Context, from cluster.NodeID, req api.PrepareRequest) (api.PrepareReply, error) {
	if req.Move.Source != from || req.Move.Target != n.ID {
		return api.PrepareReply{}, fmt.Errorf("move %s is not from node %s to this one: %w", req.Move.ID, from, cluster.ErrForbidden)
	}
	reply := api.PrepareReply{Snapshots: map[cluster.DatasetID][]cluster.Snapshot{}, Partials: map[cluster.DatasetID]cluster.Partial{}}
	// Volumes are looked for in their store now, or that would be inside the gap.
	unlisted := n.expect(ctx, req.Datasets)
	held, err := n.look(ctx, req.Datasets...)
	if err != nil {
		return reply, err
	}
	if reply.Checks, err = n.admit(ctx, req, held, unlisted); err != nil {
		return reply, err
	}
	if reply.NeedImages, err = n.missingImages(ctx, req.Applications, !req.DryRun); err != nil {
		return reply, err
	}
	for _, d := range req.Datasets {
		reply.Snapshots[d.ID] = held.Copies[d.ID].Snapshots
	}
	if !req.DryRun {
		if err := n.tellPartials(ctx, req.Datasets, &reply); err != nil {
			return reply, err
		}
	}
	if req.DryRun || len(reply.NeedImages) > 0 || !(api.PreflightReport{Checks: reply.Checks}).OK() {
		return reply, nil
	}
	return reply, n.makeReady(ctx, req)
}

// tellPartials adds what has arrived of datasets of which there is no snapshot yet. The receive of a stream that broke off ends soon; one that does
// not is ended by the next stream, which then begins anew.
func (n *Node) tellPartials(ctx context.Context, datasets []cluster.Dataset, reply *api.PrepareReply) error {
	wait, cancel := context.WithTimeout(ctx, receiveEndsWithin)
	defer cancel()
	for _, d := range datasets {
		if n.attaches(d) || len(reply.Snapshots[d.ID]) > 0 {
			continue
		}
		of, err := n.pool(d).Partial(wait, d.ID)
		if err != nil && (wait.Err() == nil || ctx.Err() != nil) {
			return err
		}
		if of.Token != "" {
			reply.Partials[d.ID] = of
		}
	}
	return nil
}

// makeReady makes the containers and remembers the move.
func (n *Node) makeReady(ctx context.Context, req api.PrepareRequest) error {
	g := n.ground(req.Move)
	if _, known := g.desired.Moves[req.Move.ID]; !known {
		return fmt.Errorf("move %s has not reached this node yet: %w", req.Move.ID, cluster.ErrUnavailable)
	}
	p := &preparation{
		move: req.Move, apps: req.Applications,
		datasets: map[cluster.DatasetID]cluster.Dataset{}, received: map[cluster.DatasetID]cluster.Snapshot{},
		netns: map[string]string{},
	}
	for _, d := range req.Datasets {
		p.datasets[d.ID] = d
	}
	for _, app := range req.Applications {
		if err := g.do(plan.CreateContainer{Application: app.Name}, func() error { return n.create(ctx, app) }); err != nil {
			return err
		}
		netns, err := n.closeGate(ctx, app.Name)
		if err != nil {
			return err
		}
		p.netns[app.Name] = netns
	}
	for _, d := range req.Datasets {
		if !n.attaches(d) {
			continue
		}
		if err := n.pool(d).Ready(ctx, d.ID); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.prepared == nil {
		n.prepared = map[cluster.MoveID]*preparation{}
	}
	if old, again := n.prepared[req.Move.ID]; again {
		p.received = old.received
	}
	n.prepared[req.Move.ID] = p
	return nil
}

// create makes an application's container; a stopped one of an earlier time makes place.
func (n *Node) create(ctx context.Context, app cluster.Application) error {
	spec, err := n.ContainerSpec(app)
	if err != nil {
		return err
	}
	_, err = n.Engine.Create(ctx, spec)
	if !errors.Is(err, container.ErrNameTaken) {
		return err
	}
	found, listErr := n.Engine.List(ctx)
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	for _, f := range found {
		if f.Ours && f.Application == app.Name && f.State != cluster.ContainerRunning && f.State != cluster.ContainerPaused {
			if err := n.Engine.Remove(ctx, app.Name); err != nil {
				return err
			}
			_, err = n.Engine.Create(ctx, spec)
			return err
		}
	}
	return err
}

// closeGate closes an application's gate and says where its namespace is.
func (n *Node) closeGate(ctx context.Context, app string) (string, error) {
	netns, err := n.netns(ctx, app)
	if err != nil {
		return "", err
	}
	if err := n.Network.SetGate(ctx, netns, false); err != nil {
		return "", fmt.Errorf("close the gate of application %s: %w", app, err)
	}
	return netns, nil
}

// missingImages pulls what is not here, where that is allowed, and names what stays missing.
func (n *Node) missingImages(ctx context.Context, apps []cluster.Application, pull bool) ([]string, error) {
	var missing []string
	for _, app := range apps {
		_, _, err := n.Engine.HasImage(ctx, app.Image)
		if errors.Is(err, container.ErrImageMissing) && pull {
			if err = n.Engine.Pull(ctx, app.Image); err != nil {
				n.Log.Info("image cannot be pulled, the source is asked for it", "image", app.Image, "error", err)
				err = container.ErrImageMissing
			}
		}
		if errors.Is(err, container.ErrImageMissing) {
			missing = append(missing, app.Image)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for image %s: %w", app.Image, err)
		}
	}
	return missing, nil
}

// Discard forgets a move that has ended without this node, its target: the containers
// made ahead go, and what attaching its volumes began with; what was received stays as a replica.
func (n *Node) Discard(ctx context.Context, m cluster.Move) error {
	if m.Target != n.ID {
		return fmt.Errorf("move %s is not to this node: %w", m.ID, cluster.ErrForbidden)
	}
	n.mu.Lock()
	p, known := n.prepared[m.ID]
	_, busy := n.running[m.ID]
	delete(n.prepared, m.ID)
	n.mu.Unlock()
	if busy {
		return nil // the agent's own plan finds what there is
	}
	g := n.ground(m)
	var errs []error
	for _, id := range m.Datasets {
		if d, there := g.desired.Datasets[id]; there && n.attaches(d) {
			errs = append(errs, n.pool(d).Unready(ctx, id))
		}
	}
	if !known {
		return errors.Join(errs...)
	}
	for _, app := range p.apps {
		if k := g.seen.Containers[app.Name]; k.State == cluster.ContainerRunning {
			continue // whatever this is, it is not what was made ahead
		}
		errs = append(errs, g.do(plan.RemoveContainer{Application: app.Name}, func() error {
			return n.Engine.Remove(ctx, app.Name)
		}))
	}
	return errors.Join(errs...)
}

func (n *Node) preparation(id cluster.MoveID) *preparation {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.prepared[id]
}
