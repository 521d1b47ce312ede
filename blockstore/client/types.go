// SPDX-License-Identifier: Apache-2.0

// Package client is what a node says to a block store, and what it is answered.
package client

import "github.com/flocker-project/flocker/cluster"

// Volume is one volume of a store.
type Volume struct {
	ID         string            `json:"id"`
	Dataset    cluster.DatasetID `json:"dataset"`
	Size       int64             `json:"size"`
	Profile    string            `json:"profile,omitempty"`
	Machine    string            `json:"machine,omitempty"` // the node that has it attached
	Attachment uint64            `json:"attachment"`        // how often it has been attached; each time has its own export
	Snapshots  []Snapshot        `json:"snapshots,omitempty"`
}

// Spec is what a volume is made from.
type Spec struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Size    int64             `json:"size"` // bytes; 0: the store's default
	Profile string            `json:"profile,omitempty"`
}

// Export is the way to one volume during one attachment: NBD with TLS, and a key that both ends know before. Its name there is
// the volume's.
type Export struct {
	Attachment uint64 `json:"attachment"`
	Port       int    `json:"port"` // at the store's address
	User       string `json:"user"`
	Secret     string `json:"secret"`
}

// DetachRequest gives an attachment back, or takes it from the machine that is named. That it is this very attachment keeps a
// request that arrives late from ending a later one.
type DetachRequest struct {
	Machine    string `json:"machine"`
	Attachment uint64 `json:"attachment"`
}

// GrowRequest asks for a size.
type GrowRequest struct {
	Size int64 `json:"size"`
}
