// SPDX-License-Identifier: Apache-2.0

// Package container is the contract with a container runtime.
package container

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// NamePrefix begins the runtime's name of each of our containers; HolderPrefix that of the container that holds its network namespace.
const (
	NamePrefix   = "flocker--"
	HolderPrefix = "flocker-net--"
)

// VolumeDriver is the runtime's name of the volume plug-in; its volumes have the names of datasets.
const VolumeDriver = "flocker"

// Sentinels of the contract.
var (
	ErrNotFound     = errors.New("no such container")
	ErrNameTaken    = errors.New("container name is taken by a container that is not ours")
	ErrImageMissing = errors.New("image is missing")
	ErrNotRunning   = errors.New("container is not running")
)

// Spec is what a container is made from.
type Spec struct {
	Application cluster.Application
	// Address is the application's own in the cluster network; its namespace has it, with the hardware address that goes with it
	// and, where the network has IPv6, the IPv6 address that does.
	Address netip.Addr
	Mounts  []Mount
	// Links become environment variables. Without any, those of the application lead to the service address.
	Links []Link
}

// Link makes a port of another application known by environment variables.
type Link struct {
	Alias      string
	LocalPort  int // in the variables' names
	RemotePort int // at Address
	Address    netip.Addr
}

// Mount is one folder given to a container.
type Mount struct {
	Dataset  cluster.DatasetID
	Source   string // on the host; must exist when the container starts, never created
	Target   string
	ReadOnly bool
}

// Runtime runs containers. The runtime itself never starts one of ours (its restart policy is always "no").
type Runtime interface {
	// Create makes the namespace holder, running, and the application's container joined to it, not started. The image must be
	// here (ErrImageMissing). Sources need not exist yet. The same spec again is success; another is ErrNameTaken unless removed first.
	// Before Join it is ErrNotJoined. Of another address than before, both are made anew, unless the application runs (ErrAddressDiffers).
	// An address that another container of this runtime has is an *AddressTakenError.
	Create(ctx context.Context, spec Spec) (cluster.Container, error)
	// Start starts a created or exited container, and its holder where that has stopped. Running is success. A missing mount source fails it.
	// ErrNotFound, also when its holder is gone or of no use any more: create it again.
	Start(ctx context.Context, application string) error
	// Stop sends the signal (empty: the image's), waits, kills after the time-out, and returns only when no process of it is left. Not running is success.
	Stop(ctx context.Context, application, signal string, timeout time.Duration) error
	// Remove removes the container and its holder; absent is success, running is stopped by force.
	Remove(ctx context.Context, application string) error
	// List returns our containers, and by dataset mount path the names of running containers that are not ours and use it.
	List(ctx context.Context) ([]Found, error)
	// Events signals that something changed until ctx ends; it coalesces, and signals once after each reconnect.
	Events(ctx context.Context) (<-chan struct{}, error)
}

// Found is a container as the runtime knows it.
type Found struct {
	cluster.Container
	// Ours is false for a foreign container; only Name, Mounts, Volumes and Published are then set.
	Ours   bool
	Name   string
	Mounts []string // host paths
	// Volumes are a foreign container's volumes of VolumeDriver, by name.
	Volumes []string
	// Published are the host's ports that the runtime leads to a foreign container.
	Published []cluster.Port
	// Netns is the path of the holder's network namespace ("/proc/<pid>/ns/net"); empty when the holder does not run.
	Netns string
}

// Images finds and carries images.
type Images interface {
	// HasImage says whether the image is here, and its content ID and size.
	HasImage(ctx context.Context, ref string) (id string, size int64, err error) // ErrImageMissing
	// Pull fetches from the registry, with the credentials configured on the host.
	Pull(ctx context.Context, ref string) error
	// Export writes images as an archive that Import reads, tagged alike.
	Export(ctx context.Context, ref string, w io.Writer) error
	Import(ctx context.Context, r io.Reader) error
}

// Inside looks into running containers.
type Inside interface {
	// Exec runs a command and returns its exit code and its combined output, bounded to 64 KiB.
	Exec(ctx context.Context, application string, command []string) (code int, output string, err error)
	// Logs returns the last lines of output.
	Logs(ctx context.Context, application string, lines int) (string, error)
}

// Pauser keeps an application's processes from running for a while.
type Pauser interface {
	// Pause returns once no process of the running container runs, until Unpause. Paused is success, one that does not run is ErrNotRunning.
	Pause(ctx context.Context, application string) error
	// Unpause lets the processes go on where they were. Not paused is success, absent is ErrNotFound.
	Unpause(ctx context.Context, application string) error
}

// Engine is all that the agent asks of a runtime.
type Engine interface {
	Runtime
	Networking
	Images
	Inside
	Pauser
}
