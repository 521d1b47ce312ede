// SPDX-License-Identifier: Apache-2.0

package api

import "github.com/flocker-project/flocker/cluster"

// PrepareRequest asks a target to get ready for a move: image present, container made behind a closed gate. It may be repeated.
type PrepareRequest struct {
	Move         cluster.Move          `json:"move"`
	Applications []cluster.Application `json:"applications"`
	Datasets     []cluster.Dataset     `json:"datasets"`
	// Bytes is what the datasets refer to on the source, with what only their kept snapshots do, for the check of space.
	Bytes map[cluster.DatasetID]int64 `json:"bytes,omitempty"`
	// DryRun only checks.
	DryRun bool `json:"dry_run,omitempty"`
}

// PrepareReply says how ready the target is.
type PrepareReply struct {
	Checks []Check `json:"checks,omitempty"`
	// NeedImages are images that the target could not find; the source sends them and asks again.
	NeedImages []string `json:"need_images,omitempty"`
	// Snapshots are the copies that can serve as a base, by dataset.
	Snapshots map[cluster.DatasetID][]cluster.Snapshot `json:"snapshots,omitempty"`
	// Partials are what has arrived of snapshots whose streams broke off, where that can be completed.
	Partials map[cluster.DatasetID]cluster.Partial `json:"partials,omitempty"`
}

// Check is one preflight result.
type Check struct {
	Name    string `json:"name"`   // e.g. "space", "image", "port", "name"
	Object  string `json:"object"` // what was looked at
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	Node    string `json:"node,omitempty"`
	Found   string `json:"found,omitempty" doc:"what was seen"`
}

// StorageReport is what a node says of its storage when it is asked: looked at then, not when it was last reported.
type StorageReport struct {
	Storage cluster.Storage `json:"storage"`
	// Further are the node's back ends beside its first, by name.
	Further map[string]cluster.Storage `json:"further,omitempty"`
	Checks  []Check                    `json:"checks" doc:"what it needs, and whether its store answers"`
}

// ResumeRequest tells the target that the hand-over is stored.
type ResumeRequest struct {
	Move cluster.Move `json:"move"` // as the hand-over left it
	// Snapshots are the last of each dataset; the head is made of exactly these.
	Snapshots map[cluster.DatasetID]string `json:"snapshots"`
}

// ResumeReply is how it ended.
type ResumeReply struct {
	Move   cluster.Move        `json:"move"` // committed or taken back
	Phases []cluster.PhaseTime `json:"phases,omitempty"`
	Reason string              `json:"reason,omitempty"` // why it was not committed, with the container's last log lines
}

// PreflightReport is the answer to a dry run.
type PreflightReport struct {
	Checks       []Check          `json:"checks"`
	Bytes        int64            `json:"bytes"`                   // to be copied before anything stops
	PredictedGap cluster.Duration `json:"predicted_gap,omitempty"` // 0 is unknown
	Basis        string           `json:"basis,omitempty"`         // what the prediction rests on
}

// OK says whether every check passed.
func (r PreflightReport) OK() bool {
	for _, c := range r.Checks {
		if !c.OK {
			return false
		}
	}
	return true
}
