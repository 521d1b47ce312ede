// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/plan"
)

// inspectStorage looks at the node's storage for somebody who asks: what fails is part of the answer.
func (a *Agent) inspectStorage(ctx context.Context) api.StorageReport {
	held, _ := a.Pools.Reach(ctx) // what fails is in the report
	report := api.StorageReport{Storage: held.First, Further: held.Further, Checks: []api.Check{}}
	if a.Checks != nil {
		report.Checks = a.Checks(ctx, held)
	}
	for i := range report.Checks {
		report.Checks[i].Node = a.Self.Name
	}
	return report
}

// pool is the back end that a dataset belongs to, or in which a copy of it is that nobody knows.
func (a *Agent) pool(id cluster.DatasetID) *backend.Pool {
	desired, _ := a.mirror.read()
	if d, known := desired.Datasets[id]; known {
		return a.Pools.Of(d.Backend)
	}
	return a.Pools.Of(a.lastObserved().Copies[id].Backend)
}

func (a *Agent) doStorage(ctx context.Context, s plan.Step) error {
	switch s := s.(type) {
	case plan.CreateVolume:
		return a.Pools.Of(s.Backend).Create(ctx, backend.Spec{Dataset: s.Dataset, Size: s.Size, Profile: s.Profile, Epoch: s.Epoch})
	case plan.CloneVolume:
		spec := backend.Spec{Dataset: s.Dataset, Size: s.Size, Profile: s.Profile, Epoch: s.Epoch}
		return a.pool(s.Dataset).Clone(ctx, s.From, s.Snapshot, spec, "")
	case plan.MakeHead:
		spec := backend.Spec{Dataset: s.Dataset, Size: s.Size, Epoch: s.Epoch}
		return a.pool(s.Dataset).Clone(ctx, s.Dataset, s.Snapshot, spec, s.Scratch)
	case plan.Attach:
		return a.pool(s.Dataset).Attach(ctx, s.Dataset)
	case plan.Detach:
		return a.pool(s.Dataset).Detach(ctx, s.Dataset)
	case plan.Evict:
		return a.pool(s.Dataset).Evict(ctx, s.Dataset, s.Machine)
	case plan.Mount:
		// The epoch goes on the data first: a crash in between leaves data that says who owns it.
		if err := a.pool(s.Dataset).SetEpoch(ctx, s.Dataset, s.Epoch, ""); err != nil {
			return err
		}
		_, err := a.pool(s.Dataset).Mount(ctx, s.Dataset)
		return err
	case plan.Unmount:
		return a.pool(s.Dataset).Unmount(ctx, s.Dataset)
	case plan.DropHead:
		return a.pool(s.Dataset).DropHead(ctx, s.Dataset)
	case plan.DestroyCopy:
		return a.pool(s.Dataset).Destroy(ctx, s.Dataset)
	case plan.Resize:
		return a.pool(s.Dataset).Resize(ctx, s.Dataset, s.Size)
	case plan.PruneSnapshot:
		return a.pool(s.Dataset).DeleteSnapshot(ctx, s.Dataset, s.Snapshot)
	default:
		return fmt.Errorf("step %s is not about storage", s.Kind())
	}
}
