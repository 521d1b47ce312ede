// SPDX-License-Identifier: Apache-2.0

package cluster

// NodeID is a node's UUID, as in its certificate.
type NodeID string

// DatasetID is a dataset's UUID.
type DatasetID string

// MoveID is a move's UUID.
type MoveID string

// Epoch counts the changes of a dataset's owner; it grows by one at each.
type Epoch uint64

// Revision is a position in the history of the store. It never goes back within
// one incarnation of the store.
type Revision int64
