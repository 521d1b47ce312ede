// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/flocker-project/flocker/api"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// planApplication creates or changes one, and leaves its placement to planMoves.
func (p *deployment) planApplication(ctx context.Context, a cluster.Application) error {
	if err := p.resolveVolumes(&a); err != nil {
		return err
	}
	there, exists := p.draft.applications[a.Name]
	a.Move, a.Deleted, a.Revision, a.Address, a.Former = "", false, 0, there.Address, there.Former
	if a.Restart.Name == "" {
		a.Restart.Name = cluster.RestartNever
	}
	if err := a.Validate(); err != nil {
		return err
	}
	object := applicationObject(a.Name)
	switch {
	case exists && !there.Deleted && p.request.CreateOnly:
		return cluster.ErrExists
	case !exists:
		p.did(api.DeployCreate, object, a.Name, "on node "+p.draft.nodes[a.Node].Name)
		return p.put(ctx, a)
	case there.Deleted:
		return p.revive(ctx, there, a)
	}
	a.Node = there.Node
	kept := there
	kept.Move, kept.Revision = "", 0
	if same(kept, a) {
		p.did(api.DeployKeep, object, a.Name, "")
		return nil
	}
	if err := p.draft.idle(ctx, "it", there.Move); err != nil {
		return err
	}
	p.did(api.DeployUpdate, object, a.Name, "")
	return p.put(ctx, a)
}

// put writes an application, with an address of its own from its first record on.
func (p *deployment) put(ctx context.Context, a cluster.Application) error {
	if err := p.draft.addressApplication(ctx, &a); err != nil {
		return err
	}
	return p.draft.putApplication(a)
}

// revive takes a deletion back that is still under way.
func (p *deployment) revive(ctx context.Context, there, a cluster.Application) error {
	if err := p.draft.idle(ctx, "it is being removed and", there.Move); err != nil {
		return err
	}
	if there.Node != a.Node {
		return fmt.Errorf("it is still being removed from node %s; try again: %w", p.draft.nodes[there.Node].Name, cluster.ErrConflict)
	}
	store.Delete(p.draft.tx, doomKey(applicationObject(a.Name)))
	p.did(api.DeployCreate, applicationObject(a.Name), a.Name, "on node "+p.draft.nodes[a.Node].Name)
	return p.put(ctx, a)
}

func (p *deployment) resolveVolumes(a *cluster.Application) error {
	a.Volumes = slices.Clone(a.Volumes)
	for i, v := range a.Volumes {
		if id, ok := p.names[string(v.Dataset)]; ok {
			a.Volumes[i].Dataset = id
			continue
		}
		n, err := p.draft.dataset(string(v.Dataset))
		if err != nil {
			return fmt.Errorf("volumes[%d]: %w", i, err)
		}
		a.Volumes[i].Dataset = n.ID
	}
	return nil
}
