// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// expected are the volumes of network storage that belong to this node, as it has read: their absence means something.
func (a *Agent) expected(desired cluster.Desired) []cluster.DatasetID {
	if !a.Pools.AnyAttaches() {
		return nil
	}
	var ids []cluster.DatasetID
	for _, id := range slices.Sorted(maps.Keys(desired.Datasets)) {
		if d := desired.Datasets[id]; d.Owner == a.Node && (d.Born || d.Deleted) && a.Pools.Of(d.Backend).Capabilities().Attaches {
			ids = append(ids, id)
		}
	}
	return ids
}

// expectation is what storage was asked to look for, and why it could not, by back end.
type expectation struct {
	ids    []cluster.DatasetID
	failed map[string]error
}

// expect makes sure that storage has looked for the volumes of this node. A store that is not reached is no reason to
// leave alone what is attached.
func (a *Agent) expect(ctx context.Context, desired cluster.Desired) expectation {
	e := expectation{ids: a.expected(desired), failed: map[string]error{}}
	asked := map[string][]cluster.DatasetID{}
	for _, id := range e.ids {
		end := desired.Datasets[id].Backend
		asked[end] = append(asked[end], id)
	}
	for _, end := range slices.Sorted(maps.Keys(asked)) {
		if err := a.Pools.Of(end).Expect(ctx, asked[end]); err != nil {
			e.failed[end] = err
		}
	}
	return e
}

// covers says whether all of these were looked for. They are in order.
func (e expectation) covers(ids []cluster.DatasetID) bool {
	return !slices.ContainsFunc(ids, func(id cluster.DatasetID) bool {
		_, found := slices.BinarySearch(e.ids, id)
		return !found
	})
}

// missingAgain is how soon volumes that should be in the store are looked for again.
const missingAgain = 30 * time.Second

// unknownVolume stands for the name of a volume that may be in the store.
const unknownVolume = "unknown"

// concerning leaves out volumes of network storage that are neither here nor this node's, since every node knows of all. Where
// the store could not be asked, what is missing is not taken to be gone: the step on it says why it fails.
func (a *Agent) concerning(o cluster.Observed, desired cluster.Desired, e expectation) map[cluster.DatasetID]cluster.Copy {
	copies := o.Copies
	maps.DeleteFunc(copies, func(id cluster.DatasetID, c cluster.Copy) bool {
		store := o.Back(c.Backend)
		return store.Capabilities.Attaches && c.Device == "" && c.Holder != store.Machine && desired.Datasets[id].Owner != a.Node
	})
	for _, id := range e.ids {
		d := desired.Datasets[id]
		failed := e.failed[d.Backend]
		if o.Unknown(d.Backend) != "" {
			continue // nothing is said of what is in it
		}
		if _, known := copies[id]; known || d.Deleted && failed == nil {
			continue
		}
		a.wake.WakeAfter(missingAgain)
		if failed != nil {
			copies[id] = cluster.Copy{Dataset: id, Backend: o.Back(d.Backend).Backend, Volume: unknownVolume}
		}
	}
	return copies
}
