// SPDX-License-Identifier: Apache-2.0

package store

import (
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// Key names a record, or with a trailing slash a collection of records, that holds a T.
type Key[T any] string

// Under is the key of the record with that name in the collection.
func (k Key[T]) Under(name string) Key[T] { return k + Key[T](name) }

// The collections.
const (
	Nodes        Key[cluster.Node]         = "nodes/"
	Datasets     Key[cluster.Dataset]      = "datasets/"
	DatasetNames Key[cluster.DatasetID]    = "dataset-names/"
	Applications Key[cluster.Application]  = "applications/"
	Moves        Key[cluster.Move]         = "moves/"
	Progress     Key[cluster.MoveProgress] = "progress/"
	Leases       Key[cluster.Lease]        = "leases/"
	Sessions     Key[Session]              = "sessions/"
	Tombstones   Key[Tombstone]            = "tombstones/"
	Doomed       Key[Doom]                 = "doomed/"
	Schedules    Key[cluster.Schedule]     = "schedules/"
	Addresses    Key[Holder]               = "addresses/"
	MetaKey      Key[Meta]                 = "meta/cluster"
	FabricKey    Key[cluster.Fabric]       = "meta/fabric"
	cursorKey    Key[string]               = "meta/address-cursor"
	generation   Key[int]                  = "meta/generation"
	observed                               = "observed/"
)

// ObservedNode is what a node sees of itself as a whole: everything but the maps below.
func ObservedNode(n cluster.NodeID) Key[cluster.Observed] {
	return Key[cluster.Observed](observed + string(n) + "/node")
}

// Copies are the copies seen on a node.
func Copies(n cluster.NodeID) Key[cluster.Copy] {
	return Key[cluster.Copy](observed + string(n) + "/copy/")
}

// Containers are the containers seen on a node.
func Containers(n cluster.NodeID) Key[cluster.Container] {
	return Key[cluster.Container](observed + string(n) + "/container/")
}

// Statuses are what is pending on a node, by object.
func Statuses(n cluster.NodeID) Key[cluster.Status] {
	return Key[cluster.Status](observed + string(n) + "/status/")
}

// ObservedKey takes the key of a part of an observation apart.
func ObservedKey(key string) (node cluster.NodeID, part, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, observed)
	if !ok {
		return "", "", "", false
	}
	id, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return "", "", "", false
	}
	part, name, _ = strings.Cut(rest, "/")
	return cluster.NodeID(id), part, name, true
}

// Session is a node's liveness. It goes with its etcd lease.
type Session struct {
	ID      string         `json:"id"`
	Node    cluster.NodeID `json:"node"`
	BootID  string         `json:"boot_id"`
	Process string         `json:"process"`
	Lease   int64          `json:"lease"`
	// Holder is the control process to which the agent's watch stream is connected; empty while none is.
	Holder string    `json:"holder,omitempty"`
	Opened time.Time `json:"opened"`
}

// Tombstone keeps the id of a dataset that is gone from being used again.
type Tombstone struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Name    string            `json:"name,omitempty"`
	Owner   cluster.NodeID    `json:"owner,omitempty"`
	At      time.Time         `json:"at"`
}

// FailOvers are a dataset's fail-overs, by epoch.
func FailOvers(d cluster.DatasetID) Key[FailOver] {
	return Key[FailOver]("failovers/" + string(d) + "/")
}

// FailOver records what was lost, at most, with whose consent.
type FailOver struct {
	Dataset  cluster.DatasetID `json:"dataset"`
	From     cluster.NodeID    `json:"from"`
	To       cluster.NodeID    `json:"to"`
	Epoch    cluster.Epoch     `json:"epoch"`
	Snapshot string            `json:"snapshot"`
	Loss     cluster.Duration  `json:"loss"`
	Consent  cluster.Duration  `json:"consent"`
	By       string            `json:"by,omitempty"`
	At       time.Time         `json:"at"`
}

// Doom is a deletion under way, with the nodes that have shown that nothing is left there.
type Doom struct {
	Gone map[cluster.NodeID]bool `json:"gone,omitempty"`
}
