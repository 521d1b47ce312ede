// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"io"

	"github.com/flocker-project/flocker/cluster"
)

// ApplicationInfo is an application with what its node sees of it.
type ApplicationInfo struct {
	cluster.Application
	Address6  string             `json:"address6,omitempty" doc:"the IPv6 address that goes with the address; there on nodes that have IPv6, absent in a cluster without it"`
	NodeName  string             `json:"node_name"`
	Container *cluster.Container `json:"container,omitempty" doc:"on the application's node; absent while there is none"`
	// Elsewhere are containers of it on other nodes, e.g. one that is prepared for a move.
	Elsewhere map[string]cluster.Container `json:"elsewhere,omitempty" doc:"by the node's name"`
	Pending   []Pending                    `json:"pending,omitempty"`
	// Warnings are what somebody should look at; nothing waits for it.
	Warnings []string `json:"warnings,omitempty" doc:"such as a process that began to listen on a published port"`
}

// applications is the part of the control service for applications. In a request a
// node is given as name, UUID, prefix of it or address, a volume's dataset as UUID or name.
type applications interface {
	Deploy(ctx context.Context, by string, r DeployRequest) (DeployReply, error)
	ListApplications(ctx context.Context) ([]ApplicationInfo, error)
	GetApplication(ctx context.Context, name string) (ApplicationInfo, error)
	DeleteApplication(ctx context.Context, by, name string) (cluster.Application, error)
	ApplicationLogs(ctx context.Context, name string, lines int) (io.ReadCloser, error)
}

// DeployRequest says how applications and their datasets should be.
type DeployRequest struct {
	Applications []cluster.Application `json:"applications" doc:"node: name, UUID, prefix or address; a volume's dataset: UUID or name"`
	// Datasets are made where they do not exist, on the node of the application that uses them, unless they name an owner.
	Datasets []cluster.Dataset `json:"datasets,omitempty"`
	// Prune removes applications that are not in the request; datasets always stay.
	Prune bool `json:"prune,omitempty"`
	// CreateOnly refuses to change an application that exists.
	CreateOnly bool `json:"create_only,omitempty"`
	DryRun     bool `json:"dry_run,omitempty" doc:"only say what would be done"`
	// Options are for the moves that a change of placement starts.
	Options cluster.MoveOptions `json:"options,omitzero"`
}

// DeployVerb is what a deployment does to an object.
type DeployVerb string

// The verbs of a deployment.
const (
	DeployCreate DeployVerb = "create"
	DeployUpdate DeployVerb = "update"
	DeployMove   DeployVerb = "move"
	DeployDelete DeployVerb = "delete"
	DeployKeep   DeployVerb = "keep"
)

// DeployAction is what was done to one object.
type DeployAction struct {
	Verb   DeployVerb     `json:"verb"`
	Object string         `json:"object"` // "application/<name>" or "dataset/<id>"
	Name   string         `json:"name"`
	Move   cluster.MoveID `json:"move,omitempty"`
	Detail string         `json:"detail,omitempty"`
}

// DeployReply says what was done.
type DeployReply struct {
	Revision cluster.Revision `json:"revision,omitempty"`
	Actions  []DeployAction   `json:"actions"`
}
