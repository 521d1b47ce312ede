// SPDX-License-Identifier: Apache-2.0

package cluster

// Desired is what the cluster should be, as one node read it at one revision.
type Desired struct {
	Revision    Revision `json:"revision"`
	Incarnation string   `json:"incarnation"` // of the store; a restored backup has a new one
	// Complete is set only by a full linearizable read in Session, or by differences on top of one.
	Complete bool   `json:"complete"`
	Session  string `json:"session,omitempty"` // the session in which it was read

	Fabric Fabric `json:"fabric,omitzero"`

	Nodes        map[NodeID]Node        `json:"nodes"`
	Datasets     map[DatasetID]Dataset  `json:"datasets"`
	Applications map[string]Application `json:"applications"`
	Moves        map[MoveID]Move        `json:"moves"` // active ones, and terminal ones not yet forgotten
	Leases       map[DatasetID]Lease    `json:"leases,omitempty"`
	Elsewhere    map[NodeID]Observed    `json:"elsewhere,omitempty"` // what other nodes reported, for decisions that need their copies
}

// NewDesired returns an empty, incomplete state with its maps made.
func NewDesired() Desired {
	return Desired{
		Nodes:        map[NodeID]Node{},
		Datasets:     map[DatasetID]Dataset{},
		Applications: map[string]Application{},
		Moves:        map[MoveID]Move{},
		Leases:       map[DatasetID]Lease{},
		Elsewhere:    map[NodeID]Observed{},
	}
}
