// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
	"github.com/flocker-project/flocker/plan"
)

// taken remembers the snapshots that this process has taken and that control may not know of yet, so that a report which is
// repeated is of the same one. What an agent that died had taken is pruned like any other, and taken anew.
type taken struct {
	mu sync.Mutex
	by map[cluster.SnapshotID]cluster.Snapshot
}

func newTaken() *taken { return &taken{by: map[cluster.SnapshotID]cluster.Snapshot{}} }

func (t *taken) of(id cluster.SnapshotID) (cluster.Snapshot, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.by[id]
	return s, ok
}

// all says whether every one of these is taken in its epoch, and there.
func (t *taken) all(asked []plan.TakeSnapshot, copies map[cluster.DatasetID]cluster.Copy) bool {
	return !slices.ContainsFunc(asked, func(s plan.TakeSnapshot) bool {
		got, ok := t.of(s.ID)
		return !ok || got.Epoch != s.Epoch || !copies[s.Dataset].Held(got)
	})
}

func (t *taken) note(id cluster.SnapshotID, s cluster.Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.by[id] = s
}

func (t *taken) forget(asked []plan.TakeSnapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range asked {
		delete(t.by, s.ID)
	}
}

// doSnapshot takes what was asked for and tells control.
func (a *Agent) doSnapshot(ctx context.Context, s plan.Step) error {
	switch s := s.(type) {
	case plan.TakeSnapshot:
		asked := []plan.TakeSnapshot{s}
		if err := a.quiesce(ctx, s.Quiesce); err != nil {
			return err
		}
		if s.Still {
			if err := a.pool(s.Dataset).Released(ctx, s.Dataset, ""); err != nil {
				return err
			}
		}
		if err := a.take(ctx, asked); err != nil {
			return err
		}
		return a.tellTaken(ctx, asked)
	case plan.TakeTogether:
		return a.takeTogether(ctx, s)
	case plan.Revert:
		return a.revert(ctx, s)
	default:
		return fmt.Errorf("step %s is not about a snapshot", s.Kind())
	}
}

func (a *Agent) quiesce(ctx context.Context, applications []string) error {
	desired, _ := a.mirror.read()
	for _, name := range applications {
		app, ok := desired.Applications[name]
		if !ok {
			continue // it was removed meanwhile
		}
		if err := a.mover.Quiesce(ctx, app); err != nil {
			return err
		}
	}
	return nil
}

// takeTogether takes the snapshots of an application while none of its processes runs. The application's object is this
// step's; those of its datasets are held, so that nothing is mounted, pruned or taken meanwhile.
func (a *Agent) takeTogether(ctx context.Context, s plan.TakeTogether) error {
	var names []string
	for _, one := range s.Snapshots {
		names = append(names, plan.DatasetObject(one.Dataset))
	}
	release, err := a.objects.hold(ctx, names)
	if err != nil {
		return fmt.Errorf("hold the datasets of application %s still: %w", s.Application, err)
	}
	defer release()
	if desired, observed := a.view(); !plan.Permit(desired, observed, s) {
		return fmt.Errorf("snapshots of application %s: its datasets have changed meanwhile: %w", s.Application, cluster.ErrConflict)
	}
	if s.Quiesce {
		if err := a.quiesce(ctx, []string{s.Application}); err != nil {
			return err
		}
	}
	if err := a.whilePaused(ctx, s.Application, func() error { return a.take(ctx, s.Snapshots) }); err != nil {
		a.taken.forget(s.Snapshots) // what was taken before and after it went on is not of one instant
		return fmt.Errorf("snapshots of application %s: %w", s.Application, err)
	}
	return a.tellTaken(ctx, s.Snapshots)
}

// whilePaused does something while no process of the application runs. Where this process dies in between, the next one
// is planned the same step, since control was not told, and lets the application go on.
func (a *Agent) whilePaused(ctx context.Context, application string, do func() error) (err error) {
	began := time.Now()
	err = a.Engine.Pause(ctx, application)
	switch {
	case errors.Is(err, container.ErrNotRunning), errors.Is(err, container.ErrNotFound):
		return do() // nothing of it runs, and nothing starts it during this step
	case err != nil:
		return err
	}
	unpause := func() error {
		a.Log.Info("application paused for its snapshots", "application", application, "pause", time.Since(began))
		return a.Engine.Unpause(context.WithoutCancel(ctx), application)
	}
	late := make(chan error, 1)
	guard := time.AfterFunc(pauseAtMost, func() {
		var err error
		defer func() { late <- err }() // also where the call does not return
		err = unpause()
	})
	err = do()
	if guard.Stop() {
		return errors.Join(err, unpause())
	}
	return errors.Join(err, <-late, fmt.Errorf("storage did not take them within %s, and the application went on", pauseAtMost))
}

// pauseAtMost is how long an application waits for storage that hangs. A snapshot takes milliseconds, and longer where much is to be written out.
const pauseAtMost = 10 * time.Second

// take takes snapshots at the same time, all or none. The objects of their datasets are the caller's.
func (a *Agent) take(ctx context.Context, asked []plan.TakeSnapshot) error {
	desired, _ := a.mirror.read()
	var ends []string
	for _, s := range asked {
		ends = append(ends, desired.Datasets[s.Dataset].Backend)
	}
	held, err := a.Pools.ObserveThose(ctx, ends)
	if err != nil {
		return fmt.Errorf("look at storage: %w", err)
	}
	if a.taken.all(asked, held.Copies) {
		return nil // control was not reached the last time
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range asked {
		// What was planned on an older look must not find a snapshot of its lineage: that would be of an earlier moment.
		for _, o := range held.Copies[s.Dataset].Snapshots {
			if o.Epoch == s.Epoch {
				s.Serial = max(s.Serial, o.Serial+1)
			}
		}
		g.Go(func() error {
			got, err := a.pool(s.Dataset).Snapshot(ctx, s.Dataset, backend.Lineage{Epoch: s.Epoch, Serial: s.Serial})
			if err != nil {
				return err
			}
			a.taken.note(s.ID, got)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		a.taken.forget(asked)
		return err
	}
	return nil
}

// tellTaken tells control which snapshots were taken, and waits until this agent has read that they are to be kept:
// before, its own plan would prune them.
func (a *Agent) tellTaken(ctx context.Context, asked []plan.TakeSnapshot) error {
	_, session := a.mirror.read()
	report := api.SnapshotReport{Session: session.ID}
	for _, s := range asked {
		got, _ := a.taken.of(s.ID)
		report.Taken = append(report.Taken, api.TakenSnapshot{Dataset: s.Dataset, ID: s.ID, Snapshot: got})
	}
	reply, err := a.Link.ReportSnapshots(ctx, report)
	if err != nil {
		if errors.Is(err, cluster.ErrConflict) || errors.Is(err, cluster.ErrNotFound) {
			a.taken.forget(asked)
		}
		return err
	}
	a.taken.forget(asked)
	a.catchUp(ctx, reply.Revision)
	return nil
}

// revert makes the head one of its snapshots, if it is what was kept of it. A head that is that snapshot already was made so by
// an earlier try, of which control was not told; until then nothing mounts it.
func (a *Agent) revert(ctx context.Context, s plan.Revert) error {
	err := a.pool(s.Dataset).Released(ctx, s.Dataset, s.Kept)
	switch {
	case err == nil:
		if err := a.pool(s.Dataset).Revert(ctx, s.Dataset, s.Snapshot); err != nil {
			return err
		}
	case !errors.Is(err, backend.ErrChanged) || a.pool(s.Dataset).Released(ctx, s.Dataset, s.Snapshot) != nil:
		return fmt.Errorf("roll back to %s: %w", s.Snapshot, err)
	}
	_, session := a.mirror.read()
	reply, err := a.Link.ReportSnapshots(ctx, api.SnapshotReport{
		Session: session.ID, RolledBack: []api.RolledBack{{Dataset: s.Dataset, Kept: s.ID}},
	})
	if err != nil {
		return err
	}
	a.catchUp(ctx, reply.Revision)
	return nil
}

// catchUp waits until what this agent has read is as new as what it has stored; where that does not come, everything is read again.
func (a *Agent) catchUp(ctx context.Context, rev cluster.Revision) {
	wait, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	if err := a.mirror.reached(wait, rev); err != nil {
		a.mirror.incomplete() // whatever is decided next rests on a full read
	}
}
