// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"maps"
	"slices"

	"github.com/flocker-project/flocker/cluster"
)

// NodeInfo is a node with what it sees.
type NodeInfo struct {
	cluster.Node
	ClusterAddress6 string          `json:"cluster_address6,omitempty" doc:"the IPv6 address that goes with the cluster address, where the node has IPv6; absent in a cluster without it"`
	IsAlive         bool            `json:"alive"`
	Storage         cluster.Storage `json:"storage"`
	// Further are the node's back ends beside its first, by name.
	Further      map[string]cluster.Storage `json:"further,omitempty"`
	Silent       cluster.Duration           `json:"silent,omitempty" doc:"since it was last heard, while it is not alive"`
	Applications []string                   `json:"applications,omitempty"`
	Datasets     int                        `json:"datasets" doc:"owned by it"`
	Replicas     int                        `json:"replicas" doc:"copies on it of datasets that others own"`
}

// Storages are the node's back ends, the first one first.
func (n NodeInfo) Storages() []cluster.Storage {
	list := []cluster.Storage{n.Storage}
	for _, name := range slices.Sorted(maps.Keys(n.Further)) {
		list = append(list, n.Further[name])
	}
	return list
}

// FenceRequest is an operator's word that a node is off.
type FenceRequest struct {
	// IsOff must be true: whoever says it while the node still runs can lose data.
	IsOff bool `json:"is_off"`
}

// FenceReply is the fenced node, and the moves that ended with it.
type FenceReply struct {
	Node  cluster.Node   `json:"node"`
	Moves []cluster.Move `json:"moves,omitempty"`
}

// nodes is the part of the control service for nodes.
type nodes interface {
	ListNodes(ctx context.Context) ([]NodeInfo, error)
	NodeStorage(ctx context.Context, ref string) (StorageReport, error)
	ForgetNode(ctx context.Context, by, ref string) error
}
