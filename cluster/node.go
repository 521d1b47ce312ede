// SPDX-License-Identifier: Apache-2.0

package cluster

import "time"

// ProtocolVersion is the version of the agents' protocols that this build speaks.
const ProtocolVersion = 1

// Node is a host that runs containers and holds datasets.
type Node struct {
	ID      NodeID `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"` // IP address at which other hosts and clients reach it
	// AgentAddress is host:port of the agent's listener for other agents.
	AgentAddress string `json:"agent_address"`
	// ClusterAddress is the node's own in the cluster network: its end of it, the gateway of its containers.
	ClusterAddress string    `json:"cluster_address,omitempty"`
	Version        string    `json:"version,omitempty"`
	Protocol       int       `json:"protocol"`
	BootID         string    `json:"boot_id,omitempty"`
	Registered     time.Time `json:"registered,omitzero"`
	// LastSeen is kept when a session ends; meaningful while Session is empty.
	LastSeen time.Time `json:"last_seen,omitzero"`
	// Session identifies the node's live session; empty when the node is not alive.
	Session string `json:"session,omitempty"`
	// Fence is set by an operator's proof that the node is off; it is cleared when the node starts a new session in another boot.
	Fence *Fence `json:"fence,omitempty"`
}

// Alive says whether the node holds a session.
func (n Node) Alive() bool { return n.Session != "" }

// Fence is a proof from outside that a node can no longer write.
type Fence struct {
	By     string    `json:"by"`      // who gave the proof, e.g. "operator user-alice"
	BootID string    `json:"boot_id"` // the boot that is known to be over
	At     time.Time `json:"at"`
}
