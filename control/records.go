// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/control/store"
)

// records are datasets as a transaction leaves them. What a transaction reads is as it was before its own writes, so one that may
// change a dataset twice has to remember the first change.
type records struct {
	tx  *store.Tx
	now map[cluster.DatasetID]cluster.Dataset
}

func newRecords(tx *store.Tx) *records {
	return &records{tx: tx, now: map[cluster.DatasetID]cluster.Dataset{}}
}

func (r *records) get(ctx context.Context, id cluster.DatasetID) (cluster.Dataset, error) {
	if d, changed := r.now[id]; changed {
		return d, nil
	}
	return store.Get(ctx, r.tx, store.Datasets.Under(string(id)))
}

func (r *records) put(d cluster.Dataset) error {
	r.now[d.ID] = d
	return store.Put(r.tx, store.Datasets.Under(string(d.ID)), d)
}
