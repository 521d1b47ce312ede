// SPDX-License-Identifier: Apache-2.0

package cluster

import "time"

// Dataset is cluster-wide named data. Owner and Epoch are the truth about who may
// write; nothing else says so.
type Dataset struct {
	ID       DatasetID         `json:"id"`
	Name     string            `json:"name"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Size     int64             `json:"size,omitempty"` // bytes; 0 is unlimited (peer to peer) or the back end's default
	Profile  string            `json:"profile,omitempty"`
	Backend  string            `json:"backend,omitempty"` // driver's name; empty until a copy exists
	Root     Root              `json:"root,omitzero"`     // of the folder that is made
	Owner    NodeID            `json:"owner"`
	Epoch    Epoch             `json:"epoch"`
	Move     MoveID            `json:"move,omitempty"` // the active move
	// Born is set once the owner has reported a copy. A born dataset is never
	// created anew: a missing copy is then a reason to wait, not to make an empty one.
	Born bool `json:"born,omitempty"`
	// Adopt names the snapshot of which the owner makes its head after a fail-over that loses, with consent, what
	// came later. Without it an owner that misses its head waits.
	Adopt string `json:"adopt,omitempty"`
	// Eviction lets the owner take the volume from a node that nobody hears, by what the storage itself does to keep it out.
	Eviction Eviction `json:"eviction,omitzero"`
	// Snapshots are those that somebody asked to keep, in the order in which they were asked for.
	Snapshots []KeptSnapshot `json:"snapshots,omitempty"`
	// Rollback is set while the dataset is to be made what it was in one of its snapshots. Nothing runs on it meanwhile.
	Rollback *Rollback `json:"rollback,omitempty"`
	// Origin is the snapshot that the dataset was made from; nil where it began empty.
	Origin *Origin `json:"origin,omitempty"`
	// CopyFor is the copy in another back end for which alone the dataset was made: its files come from here.
	CopyFor DatasetID `json:"copy_for,omitempty"`

	Deleted bool      `json:"deleted,omitempty"` // a request that names it asked for its destruction
	Created time.Time `json:"created,omitzero"`
	// Revision is the store's revision of this record; the store sets it.
	Revision Revision `json:"revision,omitempty"`
}

// Eviction is what a fail-over says of the node that had the dataset: whether it lives is not known, and its storage keeps it out.
type Eviction struct {
	Node NodeID `json:"node"`
	// Epoch is the owner's: who is owner at another one has not been asked to take anything.
	Epoch Epoch `json:"epoch"`
}

// Lease is a user's or plug-in's hold of a dataset on a node.
type Lease struct {
	Dataset  DatasetID `json:"dataset"`
	Node     NodeID    `json:"node"`
	Holder   string    `json:"holder,omitempty"`
	Expires  time.Time `json:"expires,omitzero"` // zero never expires
	Revision Revision  `json:"revision,omitempty"`
}
