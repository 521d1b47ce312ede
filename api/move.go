// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/flocker-project/flocker/cluster"
)

// MoveRequest asks for a move. Every application that shares a dataset with the named one moves with it.
type MoveRequest struct {
	Application string              `json:"application,omitempty"`
	Dataset     string              `json:"dataset,omitempty" doc:"UUID or name; in place of an application"`
	Node        string              `json:"node" doc:"the target: name, UUID, prefix of the UUID, or address"`
	Mode        cluster.MoveMode    `json:"mode,omitempty" enum:"restart,live,auto" doc:"auto when empty"`
	Options     cluster.MoveOptions `json:"options,omitzero"`
}

// MoveInfo is a move with its progress.
type MoveInfo struct {
	cluster.Move
	SourceName string                `json:"source_name"`
	TargetName string                `json:"target_name"`
	Progress   *cluster.MoveProgress `json:"progress,omitempty"`
	// Waiting is what the nodes say about it.
	Waiting []Pending `json:"waiting,omitempty"`
}

// FailOverRequest takes datasets over from a node that is proven to be off (see fence).
type FailOverRequest struct {
	Application string `json:"application,omitempty"`
	Dataset     string `json:"dataset,omitempty" doc:"UUID or name; in place of an application"`
	Node        string `json:"node" doc:"a node with a replica, or with the same network storage"`
	// MaxLoss is the consent: at most the writes of so long may be lost.
	MaxLoss cluster.Duration `json:"max_loss" doc:"e.g. 10m; the writes of at most so long may be lost"`
}

// FailOverReply says what was taken over and what may be lost with it.
type FailOverReply struct {
	Node     cluster.NodeID                       `json:"node"`
	Datasets map[cluster.DatasetID]FailedOverCopy `json:"datasets"`
}

// FailedOverCopy is the replica that took the lost copy's place; of network storage there is one copy, and nothing is lost.
type FailedOverCopy struct {
	Snapshot string           `json:"snapshot,omitempty"`
	Epoch    cluster.Epoch    `json:"epoch"`
	Loss     cluster.Duration `json:"loss"` // from the snapshot to when the owner was last heard
}

// moves is the part of the control service for moves.
type moves interface {
	CreateMove(ctx context.Context, by string, r MoveRequest) (cluster.Move, error)
	PreflightMove(ctx context.Context, by string, r MoveRequest) (PreflightReport, error)
	ListMoves(ctx context.Context) ([]MoveInfo, error)
	GetMove(ctx context.Context, ref string) (MoveInfo, error)
	CancelMove(ctx context.Context, by, ref string) (cluster.Move, error)
	WatchMove(ctx context.Context, ref string, send func(MoveInfo) error) error
}
