// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// TokenRequest asks for a join token (POST /v2/tokens, admin).
type TokenRequest struct {
	// TTL is how long the token can be used; 0 is an hour.
	TTL cluster.Duration `json:"ttl,omitempty"`
	// Uses is how many nodes can join with it; 0 is one.
	Uses int `json:"uses,omitempty"`
	// Endpoints are host:port of the API as the new hosts reach it, at least one; they become part of the token.
	Endpoints []string `json:"endpoints,omitempty"`
}

// Token is a new join token. Its text is shown this once and kept nowhere.
type Token struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"`
}

// JoinRequest asks for a node's certificate (POST /v2/join, without a certificate). Repeated with the same key it is the same node.
type JoinRequest struct {
	ID      string `json:"id"`     // of the token
	Secret  string `json:"secret"` // of the token
	CSR     string `json:"csr"`    // PEM
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
}

// JoinReply makes the asking host a node.
type JoinReply struct {
	Node        cluster.NodeID `json:"node"`
	Certificate string         `json:"certificate"` // PEM
	CA          string         `json:"ca"`          // PEM
	// Control is host:port for agents; empty are the hosts of the token, on the port for agents.
	Control []string `json:"control,omitempty"`
}
