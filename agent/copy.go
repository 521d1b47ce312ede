// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/internal/filecopy"
	"github.com/flocker-project/flocker/plan"
)

// copyFiles makes a dataset's first copy of the files of another one, which nobody writes to. The volume carries cluster.HalfEpoch until
// every file is on its disk and compared; whoever finds it so begins anew, and writing the owner's epoch is what makes it whole.
func (a *Agent) copyFiles(ctx context.Context, s plan.CopyFiles) error {
	to := a.Pools.Of(s.Backend)
	if err := to.Create(ctx, backend.Spec{Dataset: s.Dataset, Size: s.Size, Profile: s.Profile, Epoch: cluster.HalfEpoch}); err != nil {
		return err
	}
	if _, err := to.Mount(ctx, s.Dataset); err != nil {
		return err
	}
	desired, _ := a.mirror.read()
	// Of a volume of network storage the epoch is known only now.
	held, err := a.Pools.ObserveThose(ctx, []string{desired.Datasets[s.From].Backend, s.Backend})
	if err != nil {
		return fmt.Errorf("look at storage: %w", err)
	}
	source, target := held.Copies[s.From], held.Copies[s.Dataset]
	switch {
	case target.Mounted == "" || source.Mounted == "":
		return fmt.Errorf("copy dataset %s to %s: one of them is not mounted any more: %w", s.From, s.Dataset, cluster.ErrConflict)
	case target.Epoch == s.Epoch:
		return nil // an earlier process had come to the end
	case target.Epoch != cluster.HalfEpoch:
		return fmt.Errorf("copy dataset %s to %s: what is there carries epoch %d; it is left alone: %w", s.From, s.Dataset, target.Epoch, cluster.ErrConflict)
	}
	began := time.Now()
	err = a.Copy(ctx, filepath.Join(source.Mounted, backend.DataDir), filepath.Join(target.Mounted, backend.DataDir), a.copying(s))
	if errors.Is(err, errUnwanted) {
		a.Log.Info("copy of a dataset given up", "dataset", s.Dataset, "from", s.From, "reason", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy dataset %s to %s: %w", s.From, s.Dataset, err)
	}
	a.Log.Info("dataset copied", "dataset", s.Dataset, "from", s.From, "backend", s.Backend, "duration", time.Since(began))
	return to.SetEpoch(ctx, s.Dataset, s.Epoch, "")
}

// errUnwanted ends a copy that nobody wants any more.
var errUnwanted = errors.New("it is not to be made any more")

// tellEvery is how often a copy says how far it is, and finds out whether it is still wanted.
const tellEvery = time.Second

// copying takes in how far a copy is.
func (a *Agent) copying(s plan.CopyFiles) func(filecopy.State) error {
	var last time.Time
	return func(state filecopy.State) error {
		if s.Size > 0 && state.Total > s.Size {
			return fmt.Errorf("its files are %s, and its limit is %s; remove it, and copy with a larger one (--size): %w",
				cluster.FormatSize(state.Total), cluster.FormatSize(s.Size), backend.ErrNoSpace)
		}
		if time.Since(last) < tellEvery {
			return nil
		}
		last = time.Now()
		desired, _ := a.mirror.read()
		if d, known := desired.Datasets[s.Dataset]; desired.Complete && (!known || d.Deleted || d.Owner != a.Node || d.Epoch != s.Epoch) {
			return errUnwanted
		}
		a.status.progress(s, progressOf(state))
		a.wake.Wake() // which reports it
		return nil
	}
}

// progressOf says in words how far a copy is.
func progressOf(s filecopy.State) string {
	if s.Phase == filecopy.Counting {
		return "its files are being copied: counting them"
	}
	return fmt.Sprintf("its files are being copied: %s, %s of about %s", s.Phase, cluster.FormatSize(s.Done), cluster.FormatSize(s.Total))
}
