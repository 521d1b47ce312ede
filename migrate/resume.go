// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// logLines is how much of a container's output goes into the reason of a take-back.
const logLines = 20

// Resume is the target's part after the hand-over: heads of the last snapshots, mounted;
// the containers started behind their gates; ready; the commit by this node's own session; and
// only then the gates are opened. It may be repeated at any time, by the source or by
// the agent's plan, and goes on where an earlier one ended.
func (n *Node) Resume(outer context.Context, req api.ResumeRequest) (api.ResumeReply, error) {
	if req.Move.Target != n.ID {
		return api.ResumeReply{}, fmt.Errorf("move %s is not to this node: %w", req.Move.ID, cluster.ErrForbidden)
	}
	if reply, ok := n.outcome(req.Move.ID); ok {
		return reply, nil
	}
	if req.Move.Phase != cluster.MoveHandedOver {
		return api.ResumeReply{}, fmt.Errorf("move %s is %s, not handed over: %w", req.Move.ID, req.Move.Phase, cluster.ErrConflict)
	}
	_, claim, err := n.claim(outer, req.Move.ID)
	if err != nil {
		return api.ResumeReply{}, err
	}
	defer n.unclaim(req.Move.ID)
	n.send(claim)
	w, err := n.wake(outer, req)
	if err != nil {
		return api.ResumeReply{}, err
	}
	if w.move.Phase != cluster.MoveHandedOver { // an earlier process of this agent ended it
		return n.remember(api.ResumeReply{Move: w.move, Reason: w.move.Reason}), nil
	}
	// A process that has just begun has not looked round yet; that is no reason to give the move back.
	if err := w.ground.do(plan.ResumeMove{Move: w.move.ID}, func() error { return nil }); err != nil {
		return api.ResumeReply{}, fmt.Errorf("%w: %w", err, cluster.ErrUnavailable)
	}
	err = w.bringUp(outer)
	if err == nil {
		err = w.commit(outer)
	} else if outer.Err() == nil {
		err = w.giveBack(outer, err)
	}
	if err != nil {
		return api.ResumeReply{}, fmt.Errorf("resume move %s: %w", w.move.ID, err)
	}
	return n.remember(api.ResumeReply{Move: w.move, Phases: w.times.snapshot().Phases, Reason: w.move.Reason}), nil
}

// outcome is how a move ended that was resumed here, as far as this process knows.
func (n *Node) outcome(id cluster.MoveID) (api.ResumeReply, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	reply, ok := n.outcomes[id]
	return reply, ok
}

// remember keeps how a move ended for a source that asks again.
func (n *Node) remember(reply api.ResumeReply) api.ResumeReply {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.outcomes == nil {
		n.outcomes = map[cluster.MoveID]api.ResumeReply{}
	}
	n.outcomes[reply.Move.ID] = reply
	delete(n.prepared, reply.Move.ID)
	return reply
}

// waking is one go at the target's part.
type waking struct {
	node      *Node
	move      cluster.Move
	apps      []cluster.Application
	datasets  []cluster.Dataset // as the hand-over left them
	snapshots map[cluster.DatasetID]string
	netns     map[string]string
	ground    *ground
	times     *timeline
}

// wake gathers what is needed, from the preparation where this process made it, else
// from the store and the storage.
func (n *Node) wake(ctx context.Context, req api.ResumeRequest) (*waking, error) {
	w := &waking{
		node: n, move: req.Move, snapshots: map[cluster.DatasetID]string{}, netns: map[string]string{},
		ground: n.ground(req.Move), times: newTimeline(n.ID),
	}
	now, known := w.ground.desired.Moves[req.Move.ID]
	if !known {
		return nil, fmt.Errorf("move %s has not reached this node yet: %w", req.Move.ID, cluster.ErrUnavailable)
	}
	w.move = now
	p := n.preparation(req.Move.ID)
	if p == nil {
		var sets []cluster.Dataset
		for _, id := range w.move.Datasets {
			sets = append(sets, w.ground.desired.Datasets[id])
		}
		held, err := n.look(ctx, sets...)
		if err != nil {
			return nil, err
		}
		w.ground.looked(sets, held)
	} else {
		w.netns = p.netns
		for id, s := range n.receivedBy(p) {
			w.ground.saw(id, s)
		}
	}
	for _, name := range w.move.Applications {
		w.apps = append(w.apps, w.ground.desired.Applications[name])
	}
	for _, id := range w.move.Datasets {
		d := w.ground.desired.Datasets[id]
		w.datasets = append(w.datasets, d)
		if n.attaches(d) {
			continue
		}
		w.snapshots[id] = lastOf(d, w.ground.seen.Copies[id], req.Snapshots[id])
		if w.snapshots[id] == "" {
			return nil, fmt.Errorf("dataset %s: its last snapshot is not here: %w", id, backend.ErrNotFound)
		}
	}
	return w, nil
}

func (n *Node) receivedBy(p *preparation) map[cluster.DatasetID]cluster.Snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[cluster.DatasetID]cluster.Snapshot{}
	maps.Copy(all, p.received)
	return all
}

// lastOf is the snapshot that was released: the one named, or the newest of the epoch
// before the hand-over, since nothing was handed over before it was whole here.
func lastOf(d cluster.Dataset, c cluster.Copy, named string) string {
	var newest cluster.Snapshot
	for _, s := range c.Snapshots {
		if s.Name == named {
			return named
		}
		if s.Epoch+1 == d.Epoch && s.Serial >= newest.Serial {
			newest = s
		}
	}
	if named != "" {
		return ""
	}
	return newest.Name
}

// bringUp makes the application run, ready, heard by nobody.
func (w *waking) bringUp(ctx context.Context) error {
	w.node.fault(BeforeResume)
	timeout := w.move.Options.ReadyTimeout.Std()
	if timeout == 0 {
		timeout = defaultReadyTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	g, mounting := errgroup.WithContext(ctx)
	for _, d := range w.datasets {
		g.Go(func() error { return w.mount(mounting, d) })
	}
	for _, app := range w.apps {
		g.Go(func() error { return w.shut(mounting, app) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	w.node.fault(AfterMount)
	g, starting := errgroup.WithContext(ctx)
	for _, app := range w.apps {
		g.Go(func() error { return w.start(starting, app) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	w.node.fault(AfterStart)
	return nil
}

// mount makes the scratch head and mounts it.
func (w *waking) mount(ctx context.Context, d cluster.Dataset) error {
	if w.node.attaches(d) {
		return w.pickUp(ctx, d)
	}
	done := w.times.measure("mount")
	name := w.snapshots[d.ID]
	step := plan.MakeHead{Dataset: d.ID, Snapshot: name, Size: d.Size, Epoch: d.Epoch, Scratch: w.move.ID}
	err := w.ground.do(step, func() error {
		spec := backend.Spec{Dataset: d.ID, Size: d.Size, Profile: d.Profile, Epoch: d.Epoch}
		err := w.node.pool(d).Clone(ctx, d.ID, name, spec, w.move.ID)
		if errors.Is(err, backend.ErrExists) {
			return w.ownHead(ctx, d, err)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = w.ground.do(plan.Mount{Dataset: d.ID, Epoch: d.Epoch}, func() error {
		_, err := w.node.pool(d).Mount(ctx, d.ID)
		return err
	})
	if err != nil {
		return err
	}
	done(0)
	return nil
}

// ownHead accepts a head that an earlier try of this very hand-over made: nobody else
// ever had this epoch.
func (w *waking) ownHead(ctx context.Context, d cluster.Dataset, exists error) error {
	held, err := w.node.look(ctx, d)
	if err != nil {
		return errors.Join(exists, err)
	}
	if c := held.Copies[d.ID]; c.Head && c.Epoch == d.Epoch {
		return nil
	}
	return exists
}

// shut makes sure that the container is there behind a closed gate.
func (w *waking) shut(ctx context.Context, app cluster.Application) error {
	if netns, ok := w.netns[app.Name]; ok {
		if open, err := w.node.Network.GateOpen(ctx, netns); err == nil && !open {
			return nil
		}
	}
	if err := w.node.create(ctx, app); err != nil {
		return err
	}
	netns, err := w.node.closeGate(ctx, app.Name)
	if err != nil {
		return err
	}
	w.ground.mu.Lock()
	defer w.ground.mu.Unlock()
	w.netns[app.Name] = netns
	return nil
}

// start starts an application and waits until it is ready.
func (w *waking) start(ctx context.Context, app cluster.Application) error {
	done := w.times.measure("start " + app.Name)
	err := w.ground.do(plan.StartContainer{Application: app.Name}, func() error {
		return w.node.Engine.Start(ctx, app.Name)
	})
	if err != nil {
		return fmt.Errorf("start application %s: %w", app.Name, err)
	}
	done(0)
	done = w.times.measure("ready " + app.Name)
	w.ground.mu.Lock()
	netns := w.netns[app.Name]
	w.ground.mu.Unlock()
	if err := w.node.Ready(ctx, app, netns); err != nil {
		return err
	}
	done(0)
	return nil
}

// commit stores the commit and opens the gates. While the outcome is unknown the
// gates stay closed.
func (w *waking) commit(ctx context.Context) error {
	w.node.fault(BeforeCommit)
	done := w.times.measure("commit")
	if err := w.decide(ctx, api.MoveTransition{Action: api.ActionCommit, Revision: w.move.Revision}); err != nil {
		return err
	}
	done(0)
	w.node.fault(AfterCommit)
	if w.move.Phase != cluster.MoveCommitted && w.move.Phase != cluster.MoveCleaned {
		return nil // taken back before: the agent's plan stops what runs here
	}
	return w.expose(ctx)
}

// decide asks until the move is no longer tentative; whose compare wins is the truth.
func (w *waking) decide(ctx context.Context, t api.MoveTransition) error {
	pause := newPauses()
	t.Attempt = w.move.Attempt
	for {
		m, err := w.node.settle(ctx, w.move.ID, t)
		if err == nil {
			w.move = m
			w.ground.advance(m)
			t.Revision = m.Revision
			if m.Phase != cluster.MoveHandedOver {
				return nil
			}
		} else if lasting(err) {
			return err
		}
		if err := pause.wait(ctx); err != nil {
			return err
		}
	}
}

// expose opens the gates and publishes the ports. The scratch marks stay for the agent's next round: taking one away
// waits for the disk, at which the application's first writes arrive just now.
func (w *waking) expose(ctx context.Context) error {
	defer w.times.measure("expose")(0)
	g, exposing := errgroup.WithContext(ctx)
	for _, app := range w.apps {
		g.Go(func() error {
			return w.ground.do(plan.OpenGate{Application: app.Name}, func() error {
				return w.node.Exposer.Expose(exposing, app, w.move.Revision)
			})
		})
	}
	err := g.Wait()
	w.node.fault(AfterExpose)
	if err != nil {
		// The commit is stored; what is missing the agent's next round does.
		w.node.Log.Warn("not everything is open after the commit", "move", w.move.ID, "error", err)
	}
	return nil
}

// giveBack gives the datasets back to the source, with why and with what the containers said.
func (w *waking) giveBack(ctx context.Context, cause error) error {
	var reason strings.Builder
	reason.WriteString(cause.Error())
	for _, app := range w.apps {
		reason.WriteString(w.lastWords(ctx, app.Name))
	}
	w.node.Log.Warn("move is given back", "move", w.move.ID, "reason", cause)
	if w.node.anyAttaches(w.datasets) {
		if err := w.putBack(ctx); err != nil {
			w.node.Log.Warn("not everything is off this node yet", "move", w.move.ID, "error", err)
		}
	}
	return w.decide(ctx, api.MoveTransition{Action: api.ActionTakeBack, Reason: reason.String(), Revision: w.move.Revision})
}

func (w *waking) lastWords(ctx context.Context, app string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	text, err := w.node.Engine.Logs(ctx, app, logLines)
	if err != nil || text == "" {
		return "" // it never started, or says nothing
	}
	return fmt.Sprintf("\nlast lines of %s:\n%s", app, tail(text, 2000))
}
