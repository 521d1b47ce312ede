// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// SpecHash identifies what a container is made from: two applications with one hash
// need no new container. Placement, restart policy, hooks, fail-over and published
// (external) ports are not part of it, since they change without a new container.
func (a Application) SpecHash() string {
	a.Node, a.Former, a.Move, a.Deleted, a.Revision = "", nil, "", false, 0
	a.Restart, a.Hooks, a.Health, a.ReadyWhenRunning, a.FailOver = RestartPolicy{}, Hooks{}, nil, false, nil
	ports := make([]Port, len(a.Ports))
	for i, p := range a.Ports {
		ports[i] = Port{Internal: p.Internal, Protocol: p.Protocol}
	}
	a.Ports = ports
	b, err := json.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("cluster: an application always marshals: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// DatasetIDs lists the datasets the application uses, in the order of its volumes.
func (a Application) DatasetIDs() []DatasetID {
	ids := make([]DatasetID, len(a.Volumes))
	for i, v := range a.Volumes {
		ids[i] = v.Dataset
	}
	return ids
}
