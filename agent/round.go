// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/network"
	"github.com/flocker-project/flocker/plan"
)

// round is one turn of the loop: look, report, plan, begin steps. Steps run beside
// the loop and wake it when they end.
func (a *Agent) round(ctx context.Context) error {
	mark, looked := a.objects.mark(), time.Now()
	known, _ := a.mirror.read()
	observed, expected, err := a.look(ctx, known)
	if err != nil {
		a.status.blind(err)
		a.report(ctx, api.ObservedReport{Blind: true})
		return err
	}
	a.status.seeing()
	desired, session := a.mirror.read()
	if !expected.covers(a.expected(desired)) || desired.Complete && !known.Complete {
		a.wake.Wake()
		return nil // what became this node's while it looked was not looked for, and what it had told before was not known
	}
	observed.Session, observed.Revision = session.ID, desired.Revision
	observed.Copies = a.concerning(observed, desired, expected)

	if err := a.mover.Settle(desired); err != nil {
		return fmt.Errorf("forget moves that have ended: %w", err)
	}
	steps := plan.Next(desired, observed)
	running := map[string]bool{}
	for id := range observed.Claims {
		running[plan.MoveObject(id)] = true
	}
	a.status.planned(steps, running)
	a.remember(observed)
	if desired.Complete { // else what this node's former process told is not known, and would be taken back
		a.term.want(desired)
		observed.Confined = a.term.confines()
		if a.report(ctx, api.ObservedReport{Observed: observed}) {
			if err := a.term.free(ctx, desired, observed); err != nil {
				a.Log.Error("end the confinement of applications", "error", err)
			}
		}
	}
	if desired.Complete && a.joined.Key != 0 {
		if err := a.expose.settle(ctx, desired, observed, looked); err != nil {
			a.Log.Error("lead ports to applications", "error", err)
			a.joined = network.Fabric{}
		}
		if err := a.pins.settle(ctx, desired); err != nil {
			a.Log.Error("fix the places of applications that were taken over", "error", err)
		}
		a.tellNames(ctx, desired)
	}
	for _, s := range steps {
		a.start(ctx, s, mark)
	}
	return unseen(observed) // so that the loop looks again, less and less often
}

// betweenRounds is the least time between rounds while moves are carried out here.
const betweenRounds = 50 * time.Millisecond

// rest keeps crowded rounds from taking the processor from a move's function, which does what has to be done at once itself.
func (a *Agent) rest() time.Duration {
	if len(a.objects.claimed()) > 0 {
		return betweenRounds
	}
	return 0
}

// look makes the node part of the cluster network where it is not, and looks at everything. It also returns which volumes
// of network storage it looked for.
func (a *Agent) look(ctx context.Context, desired cluster.Desired) (cluster.Observed, expectation, error) {
	if err := a.join(ctx, desired); err != nil {
		return cluster.Observed{}, expectation{}, err
	}
	expected := a.expect(ctx, desired)
	observed, err := a.discover(ctx, desired)
	if err != nil {
		a.joined = network.Fabric{}
	}
	return observed, expected, err
}

// start begins a step where its object is free and not backing off.
func (a *Agent) start(ctx context.Context, s plan.Step, mark map[string]int) {
	if _, waits := s.(plan.Wait); waits {
		return
	}
	if run, ok := s.(plan.RunMove); ok {
		// A move rests on what was seen of all its objects, which an earlier move may just have changed.
		if desired, _ := a.mirror.read(); !a.objects.unchanged(objectsOf(desired.Moves[run.Move]), mark) {
			return // whoever changes one wakes the loop when it is done
		}
	}
	object := s.Object()
	if !a.status.due(object, a.wake) || !a.objects.begin(object, mark) {
		return
	}
	go func() {
		defer a.wake.Wake()
		defer a.objects.end(object)
		err := a.do(ctx, s)
		if ctx.Err() != nil {
			return
		}
		a.status.done(s, err)
		if err != nil {
			a.Log.Error("step failed", "step", s.Kind(), "object", object, "error", err)
			return
		}
		a.Log.Info("step done", "step", s.Kind(), "object", object)
	}()
}

func (a *Agent) remember(o cluster.Observed) {
	defer a.mirror.stir()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.observed = o
}

func (a *Agent) lastObserved() cluster.Observed {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.observed
}

// report tells control what changed since the last report that it took. It says whether control knows all of it now.
func (a *Agent) report(ctx context.Context, r api.ObservedReport) bool {
	_, session := a.mirror.read()
	if session.ID == "" {
		return false
	}
	o := &r.Observed
	r.Session, o.Session, o.Node, o.BootID = session.ID, session.ID, a.Node, a.Self.BootID
	o.Status = a.status.read()
	a.ready.explain(o.Status, o.Containers)
	if !a.status.differs(r) {
		return true
	}
	if err := a.Link.Report(ctx, r); err != nil {
		a.Log.Debug("report", "error", err) // the session's loop says why, once
		return false
	}
	a.status.reported(r)
	return true
}

func same(a, b api.ObservedReport) bool {
	a.Observed.Revision, b.Observed.Revision = 0, 0
	a.Observed.Claims, b.Observed.Claims = nil, nil
	return reflect.DeepEqual(a, b)
}

// do carries out one step.
func (a *Agent) do(ctx context.Context, s plan.Step) error {
	switch s := s.(type) {
	case plan.CreateVolume, plan.CloneVolume, plan.MakeHead, plan.Attach, plan.Detach, plan.Evict, plan.Mount, plan.Unmount, plan.DropHead,
		plan.DestroyCopy, plan.Resize, plan.PruneSnapshot:
		return a.doStorage(ctx, s)
	case plan.CopyFiles:
		return a.copyFiles(ctx, s)
	case plan.TakeSnapshot, plan.TakeTogether, plan.Revert:
		return a.doSnapshot(ctx, s)
	case plan.CreateContainer, plan.StartContainer, plan.StopContainer, plan.RemoveContainer,
		plan.OpenGate, plan.CloseGate:
		return a.doContainer(ctx, s)
	case plan.RunMove, plan.AbortMove, plan.ResumeMove, plan.TakeBackMove, plan.CleanMove:
		return a.doMove(ctx, s)
	case plan.Wait:
		return nil
	}
	return fmt.Errorf("step %s is not known to this version", s.Kind())
}
