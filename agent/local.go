// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/container"
)

// State is what this node knows without asking anybody: the state that was read last, what was seen last, and a channel that is closed
// when either may have changed. Nothing in it is ever changed afterwards.
func (a *Agent) State() (cluster.Desired, cluster.Observed, <-chan struct{}) {
	changed := a.mirror.next() // first, so that no change is missed
	desired, _ := a.mirror.read()
	observed := a.lastObserved()
	observed.Status = a.status.read()
	return desired, observed, changed
}

// Folder is what containers get of a dataset that is mounted here. While it is not mounted there is no such folder.
func (a *Agent) Folder(id cluster.DatasetID) string {
	return filepath.Join(a.Pools.MountPath(id), backend.DataDir)
}

// Users are the running containers that are not ours, by the datasets that they use, as the runtime knows them now.
func (a *Agent) Users(ctx context.Context) (map[cluster.DatasetID]string, error) {
	found, err := a.Engine.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at containers: %w", err)
	}
	users := map[cluster.DatasetID]string{}
	for _, f := range found {
		if !f.Ours {
			a.noteForeign(users, f)
		}
	}
	return users, nil
}

// noteVolumes records the datasets that a foreign container uses as volumes.
func (a *Agent) noteVolumes(foreign map[cluster.DatasetID]string, f container.Found) {
	if len(f.Volumes) == 0 {
		return
	}
	desired, _ := a.mirror.read()
	for id, d := range desired.Datasets {
		if !d.Deleted && slices.Contains(f.Volumes, d.Name) {
			foreign[id] = f.Name
		}
	}
}
