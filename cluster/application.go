// SPDX-License-Identifier: Apache-2.0

package cluster

// Application is a container together with the datasets it uses.
type Application struct {
	Name        string            `json:"name"`
	Image       string            `json:"image"`
	Command     []string          `json:"command,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Ports       []Port            `json:"ports,omitempty"`
	Links       []Link            `json:"links,omitempty"`
	Volumes     []Volume          `json:"volumes,omitempty"`
	MemoryLimit int64             `json:"memory_limit,omitempty"` // bytes
	CPUShares   int64             `json:"cpu_shares,omitempty"`
	Swappiness  *int64            `json:"swappiness,omitempty"`
	Restart     RestartPolicy     `json:"restart_policy"`
	User        string            `json:"user,omitempty"`
	StopSignal  string            `json:"stop_signal,omitempty"`
	StopTimeout Duration          `json:"stop_timeout,omitempty"`
	Health      *HealthCheck      `json:"health,omitempty"`
	Hooks       Hooks             `json:"hooks,omitzero"`
	// FailOver, where set, has another node take the application over by itself when its own is not heard any more.
	FailOver *FailOver `json:"fail_over,omitempty"`
	// ReadyWhenRunning declares that running is enough to be ready, for
	// applications that need their peers, who are held away until the commit.
	ReadyWhenRunning bool `json:"ready_when_running,omitempty"`

	// Address is the application's own in the cluster network, wherever it runs, for as long as its record lives.
	// The control service gives it; what a request says is not looked at.
	Address string `json:"address,omitempty"`
	Node    NodeID `json:"node"`
	// Former are the nodes that it was taken over from and that have not been heard to have given it up: what they say for it is not
	// listened to. The control service keeps them; what a request says is not looked at.
	Former  []NodeID `json:"former,omitempty"`
	Move    MoveID   `json:"move,omitempty"`
	Deleted bool     `json:"deleted,omitempty"`
	// Revision is the store's revision of this record; the store sets it.
	Revision Revision `json:"revision,omitempty"`
}

// Port is published on the node: External there leads to Internal in the container.
type Port struct {
	Internal int    `json:"internal"`
	External int    `json:"external"`
	Protocol string `json:"protocol,omitempty"` // "tcp" (also when empty) or "udp"
}

// Link makes another application's port known by environment variables.
type Link struct {
	LocalPort  int    `json:"local_port"`
	RemotePort int    `json:"remote_port"`
	Alias      string `json:"alias"`
}

// Volume is a dataset's place in a container.
type Volume struct {
	Dataset    DatasetID `json:"dataset"`
	MountPoint string    `json:"mountpoint"`
	ReadOnly   bool      `json:"read_only,omitempty"`
}

// RestartName names a restart policy.
type RestartName string

// The original's three policies.
const (
	RestartNever     RestartName = "never"
	RestartAlways    RestartName = "always"
	RestartOnFailure RestartName = "on-failure"
)

// RestartPolicy says when the agent starts a stopped container again.
type RestartPolicy struct {
	Name              RestartName `json:"name"`
	MaximumRetryCount int         `json:"maximum_retry_count,omitempty"` // with on-failure; 0 is without limit
}

// HealthCheck is a command that succeeds in the container when it is ready.
type HealthCheck struct {
	Command  []string `json:"command"`
	Interval Duration `json:"interval,omitempty"` // between tries, default 20ms while starting
	Timeout  Duration `json:"timeout,omitempty"`  // of one try, default 5s
}

// Hooks are commands run in the container around a move.
type Hooks struct {
	// Preset names a built-in set: "postgres", "mysql", "redis".
	Preset string `json:"preset,omitempty"`
	// Quiesce runs before the last snapshot rounds, so that what it flushes is not in the last delta.
	Quiesce []string `json:"quiesce,omitempty"`
	// Timeout of the quiesce command, default 30s.
	Timeout Duration `json:"timeout,omitempty"`
}

// FailOver is what an application says that is to be taken over by itself. On its own node it is then heard only while that has the
// control service's word.
type FailOver struct {
	// After is how long the node's session has to be over; it ends ten seconds after the node was last heard.
	After Duration `json:"after,omitempty"`
	// MaxLoss is the consent: at most the writes of so long may be lost with a replica. Network storage loses nothing.
	MaxLoss Duration `json:"max_loss,omitempty"`
}
