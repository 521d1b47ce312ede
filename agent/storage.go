// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"fmt"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/plan"
)

// inspectStorage looks at the node's storage for somebody who asks: what fails is part of the answer.
func (a *Agent) inspectStorage(ctx context.Context) api.StorageReport {
	reached := a.Pool.Reach(ctx)
	storage, _, err := a.Pool.Observe(ctx)
	reached = cmp.Or(reached, err)
	if reached != nil {
		storage.Error = reached.Error()
	}
	report := api.StorageReport{Storage: storage, Checks: []api.Check{}}
	if a.Checks != nil {
		report.Checks = a.Checks(ctx, reached)
	}
	for i := range report.Checks {
		report.Checks[i].Node = a.Self.Name
	}
	return report
}

func (a *Agent) doStorage(ctx context.Context, s plan.Step) error {
	switch s := s.(type) {
	case plan.CreateVolume:
		return a.Pool.Create(ctx, backend.Spec{Dataset: s.Dataset, Size: s.Size, Profile: s.Profile, Epoch: s.Epoch})
	case plan.CloneVolume:
		spec := backend.Spec{Dataset: s.Dataset, Size: s.Size, Profile: s.Profile, Epoch: s.Epoch}
		return a.Pool.Clone(ctx, s.From, s.Snapshot, spec, "")
	case plan.MakeHead:
		spec := backend.Spec{Dataset: s.Dataset, Size: s.Size, Epoch: s.Epoch}
		return a.Pool.Clone(ctx, s.Dataset, s.Snapshot, spec, s.Scratch)
	case plan.Attach:
		return a.Pool.Attach(ctx, s.Dataset)
	case plan.Detach:
		return a.Pool.Detach(ctx, s.Dataset)
	case plan.Evict:
		return a.Pool.Evict(ctx, s.Dataset, s.Machine)
	case plan.Mount:
		// The epoch goes on the data first: a crash in between leaves data that says who owns it.
		if err := a.Pool.SetEpoch(ctx, s.Dataset, s.Epoch, ""); err != nil {
			return err
		}
		_, err := a.Pool.Mount(ctx, s.Dataset)
		return err
	case plan.Unmount:
		return a.Pool.Unmount(ctx, s.Dataset)
	case plan.DropHead:
		return a.Pool.DropHead(ctx, s.Dataset)
	case plan.DestroyCopy:
		return a.Pool.Destroy(ctx, s.Dataset)
	case plan.Resize:
		return a.Pool.Resize(ctx, s.Dataset, s.Size)
	case plan.PruneSnapshot:
		return a.Pool.DeleteSnapshot(ctx, s.Dataset, s.Snapshot)
	default:
		return fmt.Errorf("step %s is not about storage", s.Kind())
	}
}
