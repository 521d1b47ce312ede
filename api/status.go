// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// Pending is something that is still to be done, and why it is not.
type Pending struct {
	Object string `json:"object"` // "dataset/<id>", "application/<name>", "move/<id>", "node/<id>" or "schedule/<id>"
	Name   string `json:"name"`   // as people call it
	Node   string `json:"node,omitempty"`
	cluster.Status
}

// Status is the whole cluster at a glance.
type Status struct {
	Cluster      string            `json:"cluster"`
	Incarnation  string            `json:"incarnation"`
	Unconfirmed  bool              `json:"unconfirmed,omitempty" doc:"the store was restored from a backup; agents wait for a confirmation"`
	Revision     cluster.Revision  `json:"revision"`
	Fabric       cluster.Fabric    `json:"fabric,omitzero" doc:"the network in which each application has its address"`
	Nodes        []NodeInfo        `json:"nodes"`
	Applications []ApplicationInfo `json:"applications"`
	Datasets     []DatasetInfo     `json:"datasets"`
	Moves        []MoveInfo        `json:"moves" doc:"those under way"`
	Pending      []Pending         `json:"pending"`
}

// Version is what runs the cluster.
type Version struct {
	Flocker  string `json:"flocker"`
	Protocol int    `json:"protocol"`
	Cluster  string `json:"cluster"`
}

// EventKind is what happened to an object.
type EventKind string

// The kinds of events.
const (
	EventCreated EventKind = "created"
	EventChanged EventKind = "changed"
	EventDeleted EventKind = "deleted"
	// EventResync begins a stream that could not resume: history before it is no longer kept. It carries the present state.
	EventResync EventKind = "resync"
)

// Event is one change.
type Event struct {
	Revision cluster.Revision `json:"revision,omitempty"`
	Kind     EventKind        `json:"kind,omitempty"`
	Object   string           `json:"object,omitempty"`
	Name     string           `json:"name,omitempty"`
	Text     string           `json:"text,omitempty"`
	At       time.Time        `json:"at,omitzero"` // when the service saw it
	State    *Status          `json:"state,omitempty"`
}

// overview is the part of the control service that shows everything.
type overview interface {
	Status(ctx context.Context) (Status, error)
	// Events sends what changed after from; 0 sends only what changes from now on.
	Events(ctx context.Context, from cluster.Revision, send func(Event) error) error
	Version(ctx context.Context) (Version, error)
}
