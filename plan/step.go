// SPDX-License-Identifier: Apache-2.0

// Package plan decides the next step for each object of a node. It is pure: the
// same state gives the same steps, whoever asks and whenever.
package plan

import "github.com/flocker-project/flocker/cluster"

// Step is one thing to do to one object. The set is sealed.
//
//sumtype:decl
type Step interface {
	// Object names what the step is about, as in Observed.Status: "dataset/<id>", "application/<name>", "move/<id>".
	Object() string
	// Kind is the step's name in logs and in the API, e.g. "mount".
	Kind() string
	step()
}

// CreateVolume makes a dataset's first, empty copy.
type CreateVolume struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Backend string            `json:"backend,omitempty"` // the one that it asks for; empty: the node's first
	Size    int64             `json:"size,omitempty"`
	Profile string            `json:"profile,omitempty"`
	Root    cluster.Root      `json:"root,omitzero"`
	Epoch   cluster.Epoch     `json:"epoch"`
}

// CloneVolume makes a dataset's first copy of a snapshot of another dataset.
type CloneVolume struct {
	Dataset  cluster.DatasetID `json:"dataset"`
	From     cluster.DatasetID `json:"from"`
	Snapshot string            `json:"snapshot"`
	Size     int64             `json:"size,omitempty"`
	Profile  string            `json:"profile,omitempty"`
	Epoch    cluster.Epoch     `json:"epoch"`
}

// CopyFiles makes a dataset's first copy, or makes it anew, of the files of a dataset in another back end.
type CopyFiles struct {
	Dataset cluster.DatasetID `json:"dataset"`
	From    cluster.DatasetID `json:"from"` // it is mounted, and nobody writes to it
	Backend string            `json:"backend"`
	Size    int64             `json:"size,omitempty"`
	Profile string            `json:"profile,omitempty"`
	// Epoch is written on the data when all is there; before, it carries cluster.HalfEpoch.
	Epoch cluster.Epoch `json:"epoch"`
}

// MakeHead makes a writable head of a read-only snapshot.
type MakeHead struct {
	Dataset  cluster.DatasetID `json:"dataset"`
	Snapshot string            `json:"snapshot"`
	Size     int64             `json:"size,omitempty"`
	Epoch    cluster.Epoch     `json:"epoch"`
	Scratch  cluster.MoveID    `json:"scratch,omitempty"`
}

// Attach makes the device of a volume of network storage appear, unless another machine has it.
type Attach struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Epoch   cluster.Epoch     `json:"epoch"`
}

// Detach gives the device of a volume of network storage back to its store.
type Detach struct {
	Dataset cluster.DatasetID `json:"dataset"`
}

// Evict takes a volume of network storage from a machine that is fenced, or that the store keeps out by doing so.
type Evict struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Epoch   cluster.Epoch     `json:"epoch"`
	Machine string            `json:"machine"`
}

// Mount writes the epoch on the data and mounts the head read-write.
type Mount struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Epoch   cluster.Epoch     `json:"epoch"`
}

// Unmount unmounts the head.
type Unmount struct {
	Dataset cluster.DatasetID `json:"dataset"`
}

// DropHead removes a head and keeps the snapshots.
type DropHead struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Reason  string            `json:"reason"`
}

// DestroyCopy removes the whole copy.
type DestroyCopy struct {
	Dataset cluster.DatasetID `json:"dataset"`
}

// Resize changes the limit.
type Resize struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Size    int64             `json:"size"`
}

// PruneSnapshot removes a snapshot that is no longer anyone's base.
type PruneSnapshot struct {
	Dataset  cluster.DatasetID `json:"dataset"`
	Snapshot string            `json:"snapshot"`
}

// TakeSnapshot takes a snapshot that somebody asked to keep.
type TakeSnapshot struct {
	Dataset cluster.DatasetID  `json:"dataset"`
	ID      cluster.SnapshotID `json:"id"`
	// Epoch and Serial are the lineage that it gets.
	Epoch  cluster.Epoch `json:"epoch"`
	Serial uint64        `json:"serial"`
	// Quiesce names the applications whose hooks run before.
	Quiesce []string `json:"quiesce,omitempty"`
	// Still says that nothing may be able to write meanwhile, which is shown first.
	Still bool `json:"still,omitempty"`
}

// Revert makes the head what it was in a snapshot, once it is shown to be what was kept of it.
type Revert struct {
	Dataset  cluster.DatasetID  `json:"dataset"`
	ID       cluster.SnapshotID `json:"id"` // of the snapshot that was kept
	Snapshot string             `json:"snapshot"`
	Kept     string             `json:"kept"`
}

// TakeTogether takes snapshots of an application's datasets at one instant: while it is paused, where it runs.
type TakeTogether struct {
	Application string         `json:"application"`
	Group       string         `json:"group"`
	Snapshots   []TakeSnapshot `json:"snapshots"`
	Quiesce     bool           `json:"quiesce,omitempty"` // the application's hook runs before
}

// CreateContainer fetches the image where needed and makes the container.
type CreateContainer struct {
	Application string `json:"application"`
}

// StartContainer starts it.
type StartContainer struct {
	Application string `json:"application"`
	Restart     bool   `json:"restart,omitempty"` // by the restart policy
}

// StopContainer stops it.
type StopContainer struct {
	Application string `json:"application"`
	Reason      string `json:"reason"`
}

// RemoveContainer removes it and its holder.
type RemoveContainer struct {
	Application string `json:"application"`
}

// OpenGate lets traffic pass.
type OpenGate struct {
	Application string `json:"application"`
}

// CloseGate keeps all traffic away.
type CloseGate struct {
	Application string `json:"application"`
}

// RunMove runs, or goes on with, the source's part of a move.
type RunMove struct {
	Move cluster.MoveID `json:"move"`
}

// AbortMove stores that the move is over; only after that may the source start again.
type AbortMove struct {
	Move    cluster.MoveID `json:"move"`
	Attempt int            `json:"attempt"`
	Reason  string         `json:"reason"`
}

// ResumeMove runs the target's part after the hand-over: mount, start behind the gate, ready, commit.
type ResumeMove struct {
	Move cluster.MoveID `json:"move"`
}

// TakeBackMove gives the datasets back to the source's untouched copies.
type TakeBackMove struct {
	Move   cluster.MoveID `json:"move"`
	Reason string         `json:"reason"`
}

// CleanMove stores that nothing of the move is left to do.
type CleanMove struct {
	Move cluster.MoveID `json:"move"`
}

// Wait does nothing, for a reason.
type Wait struct {
	About  string `json:"about"` // the object
	Reason string `json:"reason"`
}
