// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/flocker-project/flocker/cluster"
)

// SnapshotRequest asks for a snapshot of a dataset, or of all datasets of an application at one instant.
type SnapshotRequest struct {
	ID          cluster.SnapshotID `json:"id,omitempty" doc:"UUID of the snapshot, or of the group of an application's; the same request again is then answered with what there is. Made up when empty"`
	Dataset     string             `json:"dataset,omitempty" doc:"UUID or name"`
	Application string             `json:"application,omitempty" doc:"in place of a dataset; it is paused while the snapshots are taken"`
	Name        string             `json:"name,omitempty" doc:"unique in each dataset; the time when empty"`
	Quiesce     bool               `json:"quiesce,omitempty" doc:"first run the applications' hooks; otherwise it is as after a loss of power"`
}

// SnapshotState says where a snapshot that was asked for stands.
type SnapshotState string

// States of a snapshot.
const (
	SnapshotAsked   SnapshotState = "asked"
	SnapshotTaken   SnapshotState = "taken"
	SnapshotRemoved SnapshotState = "being-removed"
)

// SnapshotInfo is a snapshot with what the nodes see of it.
type SnapshotInfo struct {
	cluster.KeptSnapshot
	Dataset     cluster.DatasetID `json:"dataset"`
	DatasetName string            `json:"dataset_name"`
	State       SnapshotState     `json:"state"`
	Nodes       []string          `json:"nodes,omitempty" doc:"names of the nodes that have it, the dataset's owner first"`
	Used        int64             `json:"used,omitempty" doc:"bytes that only it refers to, where the storage knows"`
	Reason      string            `json:"reason,omitempty" doc:"what it waits for"`
}

// SnapshotReport tells the control service what a dataset's owner has done.
type SnapshotReport struct {
	Session string          `json:"session"`
	Taken   []TakenSnapshot `json:"taken,omitempty"`
	// RolledBack are the datasets of which the head is the snapshot that was asked for.
	RolledBack []RolledBack `json:"rolled_back,omitempty"`
}

// RolledBack names a rollback that is done.
type RolledBack struct {
	Dataset cluster.DatasetID  `json:"dataset"`
	Kept    cluster.SnapshotID `json:"kept"` // what was kept in it, which every rollback does anew
}

// RollbackRequest asks for a dataset to be made what it was in a snapshot.
type RollbackRequest struct {
	Snapshot string `json:"snapshot" doc:"name or UUID"`
	Stop     bool   `json:"stop,omitempty" doc:"stop the applications that use it, and start them again afterwards"`
}

// RollbackReply says where what the dataset was before is kept.
type RollbackReply struct {
	Dataset cluster.Dataset `json:"dataset"`
	Kept    SnapshotInfo    `json:"kept"`
}

// TakenSnapshot is one that was asked for and is taken.
type TakenSnapshot struct {
	Dataset  cluster.DatasetID  `json:"dataset"`
	ID       cluster.SnapshotID `json:"id"`
	Snapshot cluster.Snapshot   `json:"snapshot"`
}

// SnapshotReply says from which revision on the state has it.
type SnapshotReply struct {
	Revision cluster.Revision `json:"revision"`
}

// snapshots is the part of the control service for snapshots.
type snapshots interface {
	CreateSnapshots(ctx context.Context, by string, r SnapshotRequest) ([]SnapshotInfo, error)
	ListSnapshots(ctx context.Context, dataset string) ([]SnapshotInfo, error)
	DeleteSnapshot(ctx context.Context, by, dataset, snapshot string) (SnapshotInfo, error)
	RollBack(ctx context.Context, by, dataset string, r RollbackRequest) (RollbackReply, error)
}
