// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// abort stores that the move is over before its hand-over, and does not rest until
// that is stored or the store says that the hand-over came first. Until then nothing
// of the move may start here.
func (r *run) abort(ctx context.Context, cause error) error {
	r.node.fault(BeforeAbort)
	reason := cause.Error()
	r.node.Log.Warn("move is aborted", "move", r.move.ID, "phase", r.move.Phase, "reason", reason)
	pause := newPauses()
	for r.move.Phase.BeforeHandOver() {
		err := r.transition(ctx, api.MoveTransition{Action: api.ActionAbort, Reason: reason})
		if err != nil && lasting(err) {
			return fmt.Errorf("abort move %s after %q: %w", r.move.ID, reason, err)
		}
		if r.move.Phase.BeforeHandOver() {
			if err := pause.wait(ctx); err != nil {
				return fmt.Errorf("abort move %s after %q: %w", r.move.ID, reason, err)
			}
		}
	}
	r.node.fault(AfterAbort)
	if r.move.Phase == cluster.MoveHandedOver || r.move.Phase == cluster.MoveCommitted {
		return r.toEnd(ctx)
	}
	return r.over(ctx)
}

// over forgets a move that left everything where it was, here and on the target.
func (r *run) over(ctx context.Context) error {
	if err := r.node.Notes.Remove(r.move.ID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, discardWithin)
	defer cancel()
	if err := r.node.Peers.Discard(ctx, r.target, r.move); err != nil {
		// The target finds it by its own plan.
		r.node.Log.Info("target not told that the move is over", "move", r.move.ID, "target", r.target.ID, "error", err)
	}
	return nil
}

const (
	discardWithin = 3 * time.Second
	resumeAgain   = 100 * time.Millisecond
	// answerWithin is how long the target's own answer is waited for once the store has told the outcome.
	answerWithin = time.Second
	// readyGrace is what the target gets beyond the time to get ready, for all else it does.
	readyGrace = 10 * time.Second
)

// toEnd waits for the target after the hand-over, takes the datasets back when it does
// not commit in time, and cleans up. The agent's end interrupts only the waiting.
func (r *run) toEnd(ctx context.Context) error {
	r.node.send(r.claim)
	if err := r.node.Notes.Remove(r.move.ID); err != nil {
		return err // the store has the outcome, but a note that stays would hold the next agent up
	}
	if err := r.awaitTarget(ctx); err != nil {
		return err
	}
	switch r.move.Phase {
	case cluster.MoveCommitted:
		r.times.closeGap()
		return r.clean(ctx)
	case cluster.MoveTakenBack:
		r.node.Log.Warn("move was taken back", "move", r.move.ID, "reason", r.move.Reason)
		return r.over(ctx)
	case cluster.MoveCleaned, cluster.MoveAborted:
		return nil
	case cluster.MovePlanned, cluster.MovePreparing, cluster.MoveCopying, cluster.MoveCutting, cluster.MoveHandedOver:
	}
	return fmt.Errorf("move %s is %s after the hand-over", r.move.ID, r.move.Phase)
}

// awaitTarget returns when the move is no longer tentative.
func (r *run) awaitTarget(ctx context.Context) error {
	timeout := r.move.Options.ReadyTimeout.Std()
	if timeout == 0 {
		timeout = defaultReadyTimeout
	}
	waiting, cancel := context.WithTimeout(ctx, timeout+readyGrace)
	defer cancel()
	answers := make(chan api.ResumeReply)
	g, asking := errgroup.WithContext(waiting)
	req := r.resumeRequest()
	g.Go(func() error {
		err := r.askToResume(asking, req, answers)
		if errors.Is(err, errNotAlive) {
			cancel()
		}
		return err
	})
	r.hear(waiting, answers)
	cancel()
	err := g.Wait()
	if err != nil {
		r.node.Log.Debug("target's answer", "move", r.move.ID, "error", err)
	}
	if r.move.Phase != cluster.MoveHandedOver {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("move %s: the agent is ending while the target resumes: %w", r.move.ID, ctx.Err())
	}
	if errors.Is(err, errNotAlive) {
		return r.takeBack(ctx, r.nameOfTarget()+" is not alive any more")
	}
	return r.takeBack(ctx, fmt.Sprintf("%s did not commit within %v", r.nameOfTarget(), timeout+readyGrace))
}

// errNotAlive says that the target can commit nothing: its session is over, and it does not answer.
var errNotAlive = errors.New("the target is not alive")

func (r *run) targetAlive() bool {
	desired, _ := r.node.View()
	return !desired.Complete || desired.Nodes[r.target.ID].Alive()
}

// hear takes the target's answer or the store's news. A commit that the store tells of
// ends the gap only when the target has opened its gates, which its answer says; it is
// not waited for long.
func (r *run) hear(ctx context.Context, answers <-chan api.ResumeReply) {
	var enough <-chan time.Time
	for {
		select {
		case reply := <-answers:
			r.take(reply.Move)
			if r.move.Phase != cluster.MoveHandedOver {
				return
			}
		case <-r.claim.news:
			r.take(r.node.latest(r.claim))
			if r.move.Phase != cluster.MoveHandedOver && enough == nil {
				enough = time.After(answerWithin)
			}
		case <-enough:
			return
		case <-ctx.Done():
			return
		}
	}
}

// take believes what the store is said to have, where it is newer.
func (r *run) take(m cluster.Move) {
	if m.ID == r.move.ID && m.Revision > r.move.Revision {
		r.move = m
		r.ground.advance(m)
	}
}

func (r *run) resumeRequest() api.ResumeRequest {
	req := api.ResumeRequest{Move: r.move, Snapshots: map[cluster.DatasetID]string{}}
	for _, s := range r.sets {
		if s.base.Epoch == s.dataset.Epoch {
			req.Snapshots[s.dataset.ID] = s.base.Name
		}
	}
	return req
}

// askToResume asks the target until it answers with an outcome. It asks again when the
// link breaks, since the target goes on by itself and answers whoever asks, as long as it is alive.
func (r *run) askToResume(ctx context.Context, req api.ResumeRequest, answers chan<- api.ResumeReply) error {
	for {
		asked := time.Now()
		reply, err := r.node.Peers.Resume(ctx, r.target, req)
		if err == nil && reply.Move.Phase != cluster.MoveHandedOver {
			r.times.graft(asked, reply.Phases)
			select {
			case answers <- reply:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil && !r.targetAlive() {
			return errors.Join(errNotAlive, err)
		}
		timer := time.NewTimer(resumeAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		}
	}
}

// takeBack gives the datasets back to the source, unless the target has committed.
func (r *run) takeBack(ctx context.Context, reason string) error {
	pause := newPauses()
	for r.move.Phase == cluster.MoveHandedOver {
		err := r.transition(ctx, api.MoveTransition{Action: api.ActionTakeBack, Reason: reason, Revision: r.move.Revision})
		if err != nil && lasting(err) {
			return fmt.Errorf("take move %s back: %w", r.move.ID, err)
		}
		if r.move.Phase == cluster.MoveHandedOver {
			if err := pause.wait(ctx); err != nil {
				return fmt.Errorf("take move %s back: %w", r.move.ID, err)
			}
		}
	}
	return nil
}

// cleanAfter is how long the source's leftovers wait: where nodes share a machine, as in a development cluster, removing
// them would take the processor from the target's first answers.
const cleanAfter = 150 * time.Millisecond

// clean turns the source's copies into replicas, removes its containers and ends the
// move with its report.
func (r *run) clean(ctx context.Context) error {
	timer := time.NewTimer(cleanAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	report := r.times.snapshot()
	r.node.keepReport(r.move.ID, report)
	r.node.fault(BeforeCleaned)
	r.node.Log.Info("move committed", "move", r.move.ID, "gap", report.Gap.Std(), "bytes", report.Bytes, "rounds", report.Rounds)
	g, removing := errgroup.WithContext(ctx)
	for _, app := range r.apps {
		g.Go(func() error {
			return r.ground.do(plan.RemoveContainer{Application: app.Name}, func() error {
				return r.node.Engine.Remove(removing, app.Name)
			})
		})
	}
	for _, s := range r.sets {
		if r.node.attaches(s.dataset) {
			continue // it was detached before the hand-over
		}
		g.Go(func() error {
			step := plan.DropHead{Dataset: s.dataset.ID, Reason: "it has moved"}
			return r.ground.do(step, func() error { return r.node.pool(s.dataset).DropHead(removing, s.dataset.ID) })
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("clean up after move %s: %w", r.move.ID, err)
	}
	if err := r.node.Clean(ctx, r.move.ID); err != nil {
		return err
	}
	r.node.fault(AfterCleaned)
	return nil
}
