// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

const (
	// silentFor is how long the target may be unheard inside the gap before the cut-over is given up.
	silentFor = 3 * time.Second
	// handOverWithin bounds the wait for the answer to a hand-over; after it the outcome is found out.
	handOverWithin = 3 * time.Second
)

// arm does what can be done just before anything is stopped: the bases are looked for
// on both ends once more, the ways for the last deltas are opened, and volumes are flushed.
func (r *run) arm(ctx context.Context) error {
	reply, err := r.askTarget(ctx, false)
	if err != nil {
		return err
	}
	held, err := r.node.look(ctx, r.datasets()...)
	if err != nil {
		return err
	}
	for _, s := range r.copied() {
		id := s.dataset.ID
		if base := common(held.Copies[id].Snapshots, reply.Snapshots[id]); base.Name == "" || base.Name != s.base.Name {
			return fmt.Errorf("dataset %s: the snapshot %s is no longer on both ends", id, s.base.Name)
		}
		s.serial++
		last := cluster.Snapshot{Epoch: s.dataset.Epoch, Serial: s.serial}
		last.Name = backend.Lineage{Epoch: last.Epoch, Serial: last.Serial}.Name()
		if s.stream, err = s.open(context.WithoutCancel(ctx), last, nil); err != nil {
			return fmt.Errorf("dataset %s: %w", id, err)
		}
	}
	return r.flushVolumes(ctx)
}

// disarm gives up the streams that were opened ahead and not used to their end.
func (r *run) disarm() {
	for _, s := range r.sets {
		if s.stream != nil {
			s.stream.Abort()
		}
	}
}

// cut takes the applications out of service, proves that nothing writes any more,
// brings the last deltas over and hands over. From here on the agent's end does not
// interrupt it, since the application would stay down; a cancellation does.
func (r *run) cut(outer context.Context) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	defer cancel(nil)
	defer context.AfterFunc(outer, func() {
		if errors.Is(context.Cause(outer), errCancelled) {
			cancel(errCancelled)
		}
	})()
	r.shown.step("cut over", 0)
	r.times.openGap()
	if err := r.hold(ctx); err != nil {
		return err
	}
	if err := r.stop(ctx); err != nil {
		return err
	}
	r.node.fault(AfterStop)
	if err := r.release(ctx); err != nil {
		return err
	}
	r.node.fault(AfterNote)
	return r.handOver(ctx)
}

// hold lets new connections wait from here on. Established ones go on, so that the applications can end them in good order.
func (r *run) hold(ctx context.Context) error {
	defer r.times.measure("hold")(0)
	g, ctx := errgroup.WithContext(ctx)
	for _, app := range r.apps {
		g.Go(func() error { return r.node.Exposer.Hold(ctx, app) })
	}
	return g.Wait()
}

// stop stops the applications.
func (r *run) stop(ctx context.Context) error {
	defer r.times.measure("stop")(0)
	g, ctx := errgroup.WithContext(ctx)
	for _, app := range r.apps {
		g.Go(func() error {
			return r.ground.do(plan.StopContainer{Application: app.Name, Reason: "it moves"}, func() error {
				signal, timeout := StopOf(app)
				if err := r.node.Engine.Stop(ctx, app.Name, signal, timeout); err != nil {
					return fmt.Errorf("stop application %s: %w", app.Name, err)
				}
				return nil
			})
		})
	}
	return g.Wait()
}

// release takes the last snapshots, sends them, and proves meanwhile that nothing can
// write any more. Nobody is heard and the note is written at the same time.
func (r *run) release(ctx context.Context) error {
	defer r.times.measure("release and last delta")(0)
	g, ctx := errgroup.WithContext(ctx)
	for _, app := range r.apps {
		g.Go(func() error { return r.node.Exposer.Hide(ctx, app) })
	}
	for _, s := range r.sets {
		g.Go(func() error { return s.release(ctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.node.fault(AfterRelease)
	return r.node.Notes.Write(r.move.ID, r.move.Attempt)
}

// release takes and sends one dataset's last snapshot, and proves at the same time
// that it is the last; a volume of network storage is only let go of.
func (s *set) release(ctx context.Context) error {
	id, pool := s.dataset.ID, s.run.node.pool(s.dataset)
	if s.run.node.attaches(s.dataset) {
		return s.letGo(ctx)
	}
	done := s.run.times.measure("last snapshot")
	snap, err := pool.Snapshot(ctx, id, backend.Lineage{Epoch: s.dataset.Epoch, Serial: s.serial})
	if err != nil {
		return err
	}
	done(0)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		done := s.run.times.measure("last delta")
		if err := s.lastDelta(ctx, snap); err != nil {
			return fmt.Errorf("last delta of dataset %s: %w", id, err)
		}
		done(s.bytes)
		return nil
	})
	g.Go(func() error {
		done := s.run.times.measure("unmount and proof")
		err := s.run.ground.do(plan.Unmount{Dataset: id}, func() error { return pool.Unmount(ctx, id) })
		if err != nil {
			return err
		}
		if err := pool.Released(ctx, id, snap.Name); err != nil {
			return fmt.Errorf("prove that dataset %s is released: %w", id, err)
		}
		s.run.ground.proved(id, snap)
		done(0)
		return nil
	})
	return g.Wait()
}

// lastDelta sends through the stream that was opened ahead, and gives up soon when
// the target is not heard.
func (s *set) lastDelta(ctx context.Context, snap cluster.Snapshot) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	defer close(ended)
	go s.watch(ended, cancel)
	defer context.AfterFunc(ctx, s.stream.Abort)()
	if err := s.send(ctx, snap, s.stream); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	s.run.times.change(func(rep *cluster.MoveReport) { rep.Bytes += s.bytes })
	s.base = snap
	return nil
}

// watch gives the last delta up when the target has been silent for too long.
func (s *set) watch(ended <-chan struct{}, giveUp context.CancelCauseFunc) {
	tick := time.NewTicker(silentFor / 20)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			if s.stream.Silence() > silentFor {
				giveUp(fmt.Errorf("node %s has not been heard for %v", s.run.nameOfTarget(), silentFor))
				return
			}
		}
	}
}

// handOver asks for the hand-over. Once it may have been sent, only a write of our own
// or the store's own word says how it ended.
func (r *run) handOver(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.node.fault(BeforeHandOver)
	r.node.send(r.claim)
	done := r.times.measure("hand over")
	released := map[cluster.DatasetID]cluster.Epoch{}
	for _, s := range r.sets {
		released[s.dataset.ID] = s.dataset.Epoch
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOverWithin)
	defer cancel()
	err := r.transition(within, api.MoveTransition{
		Action: api.ActionHandOver, Revision: r.move.Revision, Released: released,
	})
	done(0)
	r.node.fault(AfterHandOver)
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return nil
}
