// SPDX-License-Identifier: Apache-2.0

// Package api is the HTTP API: types, routes, handler and clients.
package api

import "github.com/flocker-project/flocker/cluster"

// Ports of the services.
const (
	ControlPort = 4523 // users
	AgentPort   = 4524 // agents to control
	PeerPort    = 4525 // agent to agent, and control to agent
)

// SessionRequest opens a node's session. A node has one; a second is refused while the first lives, unless it names the first
// and comes from the same boot (a restarted agent).
type SessionRequest struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	AgentAddress string `json:"agent_address"`
	BootID       string `json:"boot_id"`
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
	Process      string `json:"process"` // random for each start of the agent
}

// Session is an open session.
type Session struct {
	ID          string         `json:"id"`
	Node        cluster.NodeID `json:"node"`
	Incarnation string         `json:"incarnation"`
	// TTL is how long the session outlives its watch stream.
	TTL cluster.Duration `json:"ttl"`
}

// RenewRequest names the applications that a node lets be heard only while it has the control service's word.
type RenewRequest struct {
	Session      string   `json:"session"`
	Applications []string `json:"applications,omitempty"`
}

// RenewReply names those of them that are the node's.
type RenewReply struct {
	Applications []string `json:"applications,omitempty"`
}

// WatchEvent is one message of the desired-state stream: first a Full one, then differences. An empty one is a heartbeat.
type WatchEvent struct {
	Revision cluster.Revision `json:"revision,omitempty"`
	Full     *cluster.Desired `json:"full,omitempty"`
	Put      *DesiredPart     `json:"put,omitempty"`
	Delete   *DesiredKeys     `json:"delete,omitempty"`
}

// DesiredPart holds changed objects.
type DesiredPart struct {
	Fabric       cluster.Fabric                      `json:"fabric,omitzero"`
	Nodes        []cluster.Node                      `json:"nodes,omitempty"`
	Datasets     []cluster.Dataset                   `json:"datasets,omitempty"`
	Applications []cluster.Application               `json:"applications,omitempty"`
	Moves        []cluster.Move                      `json:"moves,omitempty"`
	Leases       []cluster.Lease                     `json:"leases,omitempty"`
	Elsewhere    map[cluster.NodeID]cluster.Observed `json:"elsewhere,omitempty"`
}

// DesiredKeys names objects that are gone.
type DesiredKeys struct {
	Nodes        []cluster.NodeID    `json:"nodes,omitempty"`
	Datasets     []cluster.DatasetID `json:"datasets,omitempty"`
	Applications []string            `json:"applications,omitempty"`
	Moves        []cluster.MoveID    `json:"moves,omitempty"`
	Leases       []cluster.DatasetID `json:"leases,omitempty"`
}

// MoveAction is a transition that an agent asks for.
type MoveAction string

// The transitions; each is one compare-and-swap on the Move's revision and attempt.
const (
	ActionPhase    MoveAction = "phase"     // source: to preparing, copying or cutting
	ActionHandOver MoveAction = "hand-over" // source: release, and owner is the target, epoch + 1
	ActionAbort    MoveAction = "abort"     // source
	ActionCommit   MoveAction = "commit"    // target, in its own session
	ActionTakeBack MoveAction = "take-back" // source, target or operator
	ActionClean    MoveAction = "clean"     // source, or target when the source is gone
)

// MoveTransition asks for a transition.
type MoveTransition struct {
	Session string     `json:"session"`
	Action  MoveAction `json:"action"`
	Attempt int        `json:"attempt"`
	// Revision is the Move's revision that was read; 0 compares the attempt and the phase only (an abort that is retried).
	Revision cluster.Revision    `json:"revision,omitempty"`
	Phase    cluster.MovePhase   `json:"phase,omitempty"` // for ActionPhase
	Reason   string              `json:"reason,omitempty"`
	Report   *cluster.MoveReport `json:"report,omitempty"`
	// Released are the datasets with the epoch whose right is given up; with ActionHandOver all of the Move's.
	Released map[cluster.DatasetID]cluster.Epoch `json:"released,omitempty"`
}

// ObservedReport is all that the node sees; the control service stores only what changed.
type ObservedReport struct {
	Session  string           `json:"session"`
	Observed cluster.Observed `json:"observed"`
	// Blind says that the node could not look: only Observed.Status is taken in, and everything else stays as last told.
	Blind bool `json:"blind,omitempty"`
}
