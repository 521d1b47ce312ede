// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// pool is the back end of a dataset.
func (n *Node) pool(d cluster.Dataset) *backend.Pool { return n.Pools.Of(d.Backend) }

// attaches says whether a dataset is a volume of network storage, of which there is nothing to copy.
func (n *Node) attaches(d cluster.Dataset) bool { return n.pool(d).Capabilities().Attaches }

func (n *Node) anyAttaches(sets []cluster.Dataset) bool { return slices.ContainsFunc(sets, n.attaches) }

// look looks at the back ends of datasets. Another one that cannot be looked at does not matter to them.
func (n *Node) look(ctx context.Context, sets ...cluster.Dataset) (backend.Contents, error) {
	held, err := n.Pools.ObserveThose(ctx, endsOf(sets))
	if err != nil {
		return held, fmt.Errorf("look at storage: %w", err)
	}
	return held, nil
}

// expect looks for volumes of network storage in their store.
func (n *Node) expect(ctx context.Context, sets []cluster.Dataset) error {
	ids := map[string][]cluster.DatasetID{}
	for _, d := range sets {
		if n.attaches(d) {
			ids[d.Backend] = append(ids[d.Backend], d.ID)
		}
	}
	var errs []error
	for _, end := range slices.Sorted(maps.Keys(ids)) {
		errs = append(errs, n.Pools.Of(end).Expect(ctx, ids[end]))
	}
	return errors.Join(errs...)
}

// settleVolumes is what is left of the copy phase where there is nothing to copy: the hook, so that the stop has less to
// write out, and the prediction.
func (r *run) settleVolumes(ctx context.Context) error {
	if r.hooked() {
		if err := r.quiesce(ctx, everyone); err != nil {
			return err
		}
	}
	desired, _ := r.node.View()
	predicted, _ := predictGap(r.move, r.apps, desired, usualAttach)
	r.times.change(func(rep *cluster.MoveReport) { rep.Converged, rep.PredictedGap = true, predicted })
	return nil
}

// flushVolumes writes out what the applications have written to volumes, which unmounting them would have to do inside the gap. It is done
// after the copy and once more before the cut-over: while much is written out much is written, and the second time there is less.
func (r *run) flushVolumes(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range r.sets {
		if !r.node.attaches(s.dataset) {
			continue
		}
		g.Go(func() error {
			done := r.times.measure("flush")
			if err := r.node.pool(s.dataset).Flush(ctx, s.dataset.ID); err != nil {
				return err
			}
			done(0)
			return nil
		})
	}
	return g.Wait()
}

// letGo takes a volume off this node for good: unmounted, shown to be open nowhere, and detached, which its store confirms.
func (s *set) letGo(ctx context.Context) error {
	if err := s.run.node.unmountVolume(ctx, s.run.ground, s.run.times, s.dataset); err != nil {
		return err
	}
	return s.run.node.detachVolume(ctx, s.run.ground, s.run.times, s.dataset)
}

func (n *Node) unmountVolume(ctx context.Context, g *ground, times *timeline, d cluster.Dataset) error {
	done := times.measure("unmount and proof")
	if err := g.do(plan.Unmount{Dataset: d.ID}, func() error { return n.pool(d).Unmount(ctx, d.ID) }); err != nil {
		return err
	}
	if err := n.pool(d).Released(ctx, d.ID, ""); err != nil {
		return fmt.Errorf("prove that dataset %s is released: %w", d.ID, err)
	}
	done(0)
	return nil
}

func (n *Node) detachVolume(ctx context.Context, g *ground, times *timeline, d cluster.Dataset) error {
	done := times.measure("detach")
	if err := g.do(plan.Detach{Dataset: d.ID}, func() error { return n.pool(d).Detach(ctx, d.ID) }); err != nil {
		return err
	}
	done(0)
	return nil
}

// pickUp attaches and mounts a volume on the target.
func (w *waking) pickUp(ctx context.Context, d cluster.Dataset) error {
	done := w.times.measure("attach")
	err := w.ground.do(plan.Attach{Dataset: d.ID, Epoch: d.Epoch}, func() error { return w.node.pool(d).Attach(ctx, d.ID) })
	if err != nil {
		return err
	}
	done(0)
	done = w.times.measure("mount")
	err = w.ground.do(plan.Mount{Dataset: d.ID, Epoch: d.Epoch}, func() error {
		if err := w.node.pool(d).SetEpoch(ctx, d.ID, d.Epoch, ""); err != nil {
			return err
		}
		_, err := w.node.pool(d).Mount(ctx, d.ID)
		return err
	})
	if err != nil {
		return err
	}
	done(0)
	return nil
}

// putBack takes the volumes off this node, the target, before they are given back: there is no other copy that the source could
// go on with. What cannot be put back now the agent's plan goes on with; the source gets the volume when that is done.
func (w *waking) putBack(ctx context.Context) error {
	var errs []error
	for _, app := range w.apps {
		errs = append(errs, w.ground.do(plan.StopContainer{Application: app.Name, Reason: "its move is given back"}, func() error {
			signal, timeout := StopOf(app)
			return w.node.Engine.Stop(ctx, app.Name, signal, timeout)
		}))
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range w.datasets {
		if !w.node.attaches(d) {
			continue
		}
		g.Go(func() error {
			if err := w.node.unmountVolume(ctx, w.ground, w.times, d); err != nil {
				return err
			}
			return w.node.detachVolume(ctx, w.ground, w.times, d)
		})
	}
	return errors.Join(append(errs, g.Wait())...)
}
