// SPDX-License-Identifier: Apache-2.0

package cluster

import "time"

// Observed is what one node sees on itself.
type Observed struct {
	Node     NodeID   `json:"node"`
	BootID   string   `json:"boot_id"`
	Session  string   `json:"session,omitempty"`  // the agent's own session
	Revision Revision `json:"revision,omitempty"` // the desired revision that was acted on

	// Storage is the node's first back end, which takes the datasets that ask for none; Further are its others, by name.
	Storage    Storage              `json:"storage"`
	Further    map[string]Storage   `json:"further,omitempty"`
	Copies     map[DatasetID]Copy   `json:"copies,omitempty"`
	Containers map[string]Container `json:"containers,omitempty"` // by application name
	// Foreign names a container that is not ours and uses the dataset.
	Foreign map[DatasetID]string `json:"foreign,omitempty"`
	// Ports names who uses a port of the node, by "5432/tcp": a process, or a container that is not ours. The control
	// service keeps it to itself: other nodes do not get it.
	Ports map[string]string `json:"ports,omitempty"`
	// Confined are the applications that ask to be taken over by themselves and are heard from this node only while the control
	// service says so; its kernel sees to that.
	Confined []string `json:"confined,omitempty"`
	// Status is what is pending on this node and why, by object ("dataset/<id>", "application/<name>", "move/<id>").
	Status map[string]Status `json:"status,omitempty"`

	// Claims are the moves whose function runs in this agent process now; the value turns true before the function
	// stops, mounts or starts anything, and the claim ends only when the agent has read what the function last wrote.
	Claims map[MoveID]bool `json:"claims,omitempty"`
	// Noted are the moves whose hand-over may have been sent by this node (rule 1): the note's attempt.
	Noted map[MoveID]int `json:"noted,omitempty"`
	// Overdue are the handed-over moves whose time to get ready has passed on this agent's clock; the planner has none.
	Overdue map[MoveID]bool `json:"overdue,omitempty"`

	// LastSeen is when the node was last heard, set by the control service when the node is not alive.
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// Storage is what a node's back end can do and has room for.
type Storage struct {
	Backend      string       `json:"backend,omitempty"` // its name on this node
	Kind         string       `json:"kind,omitempty"`    // where that is not its name
	Capabilities Capabilities `json:"capabilities,omitzero"`
	// Profiles are the ways of making a dataset that it has names for, in their order.
	Profiles []Profile `json:"profiles,omitempty"`
	Machine  string    `json:"machine,omitempty"` // the node's name in network storage
	Free     int64     `json:"free,omitempty"`    // bytes that can still be written
	Total    int64     `json:"total,omitempty"`
	// Error is why nothing is known of what is in it now: it was not opened, or not looked at, or did not answer. What was told of it
	// before still stands as what was last known, its copies among that, and is neither fresh nor gone.
	Error string `json:"error,omitempty"`
}

// Driver is the kind of storage that it is; empty where nothing is known of it.
func (s Storage) Driver() string {
	if s.Kind != "" {
		return s.Kind
	}
	return s.Backend
}

// Back is the node's back end of that name, the first one where the name is empty. A node that has none of that name says so
// in its Error.
func (o Observed) Back(end string) Storage {
	if end == "" || end == o.Storage.Backend || o.Storage.Backend == "" { // the last: nothing is known of the node yet
		return o.Storage
	}
	if s, there := o.Further[end]; there {
		return s
	}
	return Storage{Backend: end, Error: "this node has no back end " + end}
}

// Unknown says why nothing is known now of what is in one of the node's back ends, the first one where the name is empty. It is empty for
// one that was looked at, and for one that the node does not have.
func (o Observed) Unknown(end string) string {
	if end == "" || end == o.Storage.Backend {
		return o.Storage.Error
	}
	return o.Further[end].Error
}

// Withholds says whether a copy that was told of earlier is in a back end of which nothing is known now.
func (o Observed) Withholds(earlier Copy) bool {
	if earlier.Backend != "" {
		return o.Unknown(earlier.Backend) != ""
	}
	for _, s := range o.Further { // told by a version that did not say where it is
		if s.Error != "" {
			return true
		}
	}
	return o.Storage.Error != ""
}

// Capabilities are what a back end can do, as plain data for the planner.
type Capabilities struct {
	Replicates bool `json:"replicates,omitempty"` // peer to peer: snapshots are sent between nodes
	Attaches   bool `json:"attaches,omitempty"`   // network storage: one volume, attached where it is used
	Snapshots  bool `json:"snapshots,omitempty"`
	// NoSnapshots says why there are none, where other storage of this kind may have them.
	NoSnapshots string `json:"no_snapshots,omitempty"`
	Reverts     bool   `json:"reverts,omitempty"` // a dataset can be taken back to a snapshot of it
	Resizes     bool   `json:"resizes,omitempty"`
	Fences      bool   `json:"fences,omitempty"` // the storage itself can keep a node out
}

// Copy is a dataset's presence on a node.
type Copy struct {
	Dataset DatasetID `json:"dataset"`
	Backend string    `json:"backend,omitempty"` // the name of the back end that has it
	// Head says that a writable copy exists here, Epoch what is written on it.
	Head    bool   `json:"head,omitempty"`
	Epoch   Epoch  `json:"epoch,omitempty"`
	Mounted string `json:"mounted,omitempty"` // path; empty when not mounted
	Size    int64  `json:"size,omitempty"`    // limit in force
	Used    int64  `json:"used,omitempty"`    // referenced bytes
	// Snapshots are read-only, whole and verified, oldest first.
	Snapshots []Snapshot `json:"snapshots,omitempty"`
	// Scratch names the move for which Head was made while the dataset was tentative.
	Scratch MoveID `json:"scratch,omitempty"`
	// Divergent says that Head has writes beyond the newest snapshot while this node does not own the dataset.
	Divergent bool `json:"divergent,omitempty"`
	// Network storage: Volume is the store's name of the volume, Device where it is attached on this node, and Holder the
	// other machine, by the store's name, that it was last seen attached to. Without a Device there is no Head.
	Volume string `json:"volume,omitempty"`
	Device string `json:"device,omitempty"`
	Holder string `json:"holder,omitempty"`
	// InUse names a process or container that holds the data open; empty when none is known.
	InUse string `json:"in_use,omitempty"`
}

// Snapshot is a read-only point of a dataset's history.
type Snapshot struct {
	Name string `json:"name"`
	// Epoch and Serial are its lineage: the owner's epoch when it was taken and a number growing within it.
	Epoch  Epoch  `json:"epoch"`
	Serial uint64 `json:"serial"`
	// ID identifies the content across nodes: two snapshots with one ID hold the same bytes.
	ID      string    `json:"id"`
	Created time.Time `json:"created,omitzero"`
	Used    int64     `json:"used,omitempty"` // bytes only it refers to, where known
}

// Partial is a whole snapshot of which a part was received before its stream broke off. It is no copy of anything.
type Partial struct {
	Snapshot string `json:"snapshot"` // its name, and
	ID       string `json:"id"`       // content
	// Token is the back end's own word for what is missing.
	Token string `json:"token"`
}

// ContainerState is a container's state on a node.
type ContainerState string

// States of a container.
const (
	ContainerCreated ContainerState = "created" // made, never started
	ContainerRunning ContainerState = "running"
	ContainerPaused  ContainerState = "paused"
	ContainerExited  ContainerState = "exited"
)

// Container is an application's container on a node.
type Container struct {
	Application string         `json:"application"`
	ID          string         `json:"id"`
	State       ContainerState `json:"state"`
	// Spec identifies the Application fields it was made from, see Application.SpecHash.
	Spec     string      `json:"spec"`
	Datasets []DatasetID `json:"datasets,omitempty"`
	ExitCode int         `json:"exit_code,omitempty"`
	// Ended says that its process ended by itself in this boot, as this agent saw it; an exited container
	// that did not end by itself was stopped by us, or by the end of a boot, and is started again.
	Ended    bool      `json:"ended,omitempty"`
	Error    string    `json:"error,omitempty"`
	Restarts int       `json:"restarts,omitempty"` // by the agent, since it was last made
	Started  time.Time `json:"started,omitzero"`
	Address  string    `json:"address,omitempty"` // IP address in its network namespace
	// GateOpen says whether traffic passes between the container and anyone else.
	GateOpen bool `json:"gate_open,omitempty"`
	Ready    bool `json:"ready,omitempty"`
}

// StatusOfNode is the object in Observed.Status for what keeps the node from looking at anything.
const StatusOfNode = "node"

// Status is why something is pending.
type Status struct {
	Reason   string    `json:"reason"`
	Step     string    `json:"step,omitempty"` // the step that failed or waits
	Failures int       `json:"failures,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}
