// SPDX-License-Identifier: Apache-2.0

// Package backend is the storage contract, and Pool, the one type through which
// all other code uses storage.
package backend

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// DataDir is the folder inside a dataset that containers see. The dataset's root
// itself is Flocker's, so that a path that is not mounted has no such folder and a
// container's start fails instead of writing beside the data.
const DataDir = "data"

// Sentinels of the contract; drivers turn their vendor's errors into these.
var (
	ErrNotFound    = errors.New("no such volume")
	ErrExists      = errors.New("volume exists")
	ErrBusy        = errors.New("volume is in use") // wrapped with who uses it, where known
	ErrNoSpace     = errors.New("no space left")
	ErrChanged     = errors.New("changed since the snapshot")
	ErrBaseMissing = errors.New("base snapshot is missing")
	ErrUnfit       = errors.New("the difference does not fit its base") // the whole snapshot may
	ErrUnsupported = errors.New("not supported by this back end")
	ErrNotAttached = errors.New("volume is not attached here")
	ErrTemporary   = errors.New("the store failed for now")       // the same call may succeed soon
	ErrThrottled   = errors.New("the store asks for fewer calls") // as well, and only if it is asked less
)

// RetryAfterError is a failure, ErrTemporary or ErrThrottled, of which the store said when to ask again.
type RetryAfterError struct {
	Wait time.Duration
	Err  error
}

// Error is that of the failure.
func (e *RetryAfterError) Error() string { return e.Err.Error() }

// Unwrap is the failure.
func (e *RetryAfterError) Unwrap() error { return e.Err }

// Spec is what a volume is made from. Pool has checked and rounded it.
type Spec struct {
	Dataset cluster.DatasetID
	Size    int64  // bytes; 0 is unlimited
	Profile string // one of the driver's Profiles, or empty; to clones and receives, also one that it has no more
	Epoch   cluster.Epoch
	Root    cluster.Root // of DataDir, where Create makes it
}

// Driver is what every back end implements. Methods may be called again after any
// failure or crash and then finish what was begun.
type Driver interface {
	// Create makes an empty writable head with DataDir in it, whose and with the mode that spec.Root says, and the epoch written on it.
	// A volume that exists with the same size is success without a change; with another it is ErrExists.
	Create(ctx context.Context, spec Spec) error
	// Destroy removes the volume with its snapshots and half-received parts. An absent
	// volume is success; a mounted or open one is ErrBusy and loses nothing.
	Destroy(ctx context.Context, id cluster.DatasetID) error
	// List returns every volume that is ours, from the back end's own metadata alone.
	// What is half made or half received never appears as a head or a snapshot.
	List(ctx context.Context) ([]cluster.Copy, error)
	// SetEpoch writes the owner's epoch, and the move for which the head is scratch (empty: not scratch), on the
	// head, durably. A smaller epoch than the one written is refused with ErrChanged.
	SetEpoch(ctx context.Context, id cluster.DatasetID, epoch cluster.Epoch, scratch cluster.MoveID) error
}

// Space says how many bytes can still be written and how many there are in all.
type Space interface {
	Space(ctx context.Context) (free, total int64, err error)
}

// Mounter is for drivers that own their filesystem.
type Mounter interface {
	// Mount mounts the head read-write on path. Already mounted there is success.
	Mount(ctx context.Context, id cluster.DatasetID, path string) error
	// Unmount is never lazy. Not mounted is success; in use is ErrBusy with the user's name.
	Unmount(ctx context.Context, id cluster.DatasetID) error
	// Released proves that nothing can write to the head any more: no mount in any mount namespace, no open
	// descriptor or mapping of any process, and, where snapshot is not empty, no change since that snapshot.
	// What cannot be shown is an error: ErrBusy, ErrChanged, or the reason.
	Released(ctx context.Context, id cluster.DatasetID, snapshot string) error
}

// Preparer is for network storage: it does ahead what would otherwise be in the gap of a move.
type Preparer interface {
	// Ready does what Attach begins with and what takes no right to the volume, which may be attached elsewhere. Nothing can be read or
	// written by it.
	Ready(ctx context.Context, id cluster.DatasetID) error
	// Unready takes back what Ready did. What is attached by now stays so.
	Unready(ctx context.Context, id cluster.DatasetID) error
	// Flush does what Unmount begins with: it returns once all that had been written to the mounted head when it was called is on its disk.
	Flush(ctx context.Context, id cluster.DatasetID) error
}

// Snapshotter is for drivers with cheap read-only snapshots.
type Snapshotter interface {
	// Snapshot takes a read-only snapshot of the head, flushed to disk first. Its name is derived from the lineage;
	// the same lineage again returns the snapshot that exists.
	Snapshot(ctx context.Context, id cluster.DatasetID, lineage Lineage) (cluster.Snapshot, error)
	// DeleteSnapshot removes one; absent is success.
	DeleteSnapshot(ctx context.Context, id cluster.DatasetID, name string) error
	// Clone makes a writable head of dataset spec.Dataset as a new snapshot of a read-only snapshot of from (which may
	// be the same dataset), with spec's size, epoch and scratch mark. An existing head is ErrExists.
	Clone(ctx context.Context, from cluster.DatasetID, snapshot string, spec Spec, scratch cluster.MoveID) error
	// DropHead removes the head and keeps the snapshots. Absent is success; in use is ErrBusy.
	DropHead(ctx context.Context, id cluster.DatasetID) error
}

// Reverter is for drivers with snapshots that can put one in the head's place at once.
type Reverter interface {
	// Revert puts a writable copy of one of the dataset's own snapshots in the place of its head, which keeps its epoch and its size and may
	// not be mounted or open (ErrBusy). A crash leaves the one or the other, whole, and never none; done again it does the same.
	Revert(ctx context.Context, id cluster.DatasetID, snapshot string) error
}

// Lineage names a point of a dataset's history.
type Lineage struct {
	Epoch  cluster.Epoch
	Serial uint64
}

// Announced says which snapshot a stream is of.
type Announced func() (cluster.Snapshot, error)

// Arrival says what a stream is received for.
type Arrival struct {
	Dataset cluster.DatasetID
	Base    string // the snapshot that it is a difference to; empty: it is whole
	Profile string // the dataset's, for what is stored anew
	Rest    string // the token of the partial that it completes; empty: it is all
}

// Replicator sends snapshots between nodes.
type Replicator interface {
	// Send writes the snapshot, as a difference to base where base is not empty: ErrBaseMissing if it is not here, ErrUnfit if there is none
	// because the snapshot was not made from it. Then nothing was written.
	Send(ctx context.Context, id cluster.DatasetID, snapshot, base string, w io.Writer) error
	// Receive reads what Send wrote. The snapshot appears, whole and verified, only after r ended with io.EOF and
	// everything was applied and is durable; any other error of r leaves nothing behind that shows. announced is called once,
	// before r is read, and gives what the sender said of the snapshot, which is compared with what arrived; what needs
	// only the base is done before it is called, so that it may wait for the snapshot to be taken.
	Receive(ctx context.Context, to Arrival, announced Announced, r io.Reader) (cluster.Snapshot, error)
}

// Resumer is for Replicators that can go on with a whole snapshot where its stream broke off.
type Resumer interface {
	// Partial is what was received so of a dataset; nothing where its token is empty. It goes with the dataset, with the next snapshot
	// that is received for it from its beginning, and after a day.
	Partial(ctx context.Context, id cluster.DatasetID) (cluster.Partial, error)
	// SendRest writes what another node lacks of a snapshot, for a Receive that names the same token. ErrUnfit, with nothing written, where that
	// cannot be.
	SendRest(ctx context.Context, id cluster.DatasetID, of cluster.Partial, w io.Writer) error
}

// Resizer changes a volume's limit; safe while mounted.
type Resizer interface {
	// Resize sets the size in bytes; 0 is unlimited. Less than what is used is ErrNoSpace.
	Resize(ctx context.Context, id cluster.DatasetID, size int64) error
}

// Attacher is for network storage: one volume, attached where it is used. backend/block makes one of what a driver's
// Volumes are. Its Mount and Unmount are of attached volumes only, and its List gives a copy with a Device for what is
// attached here, and one without for what this node knows to be in the store.
type Attacher interface {
	// Attach makes the volume's device appear on this node, finishes formatting that was interrupted, and never takes
	// the volume from another machine: ErrBusy names that machine.
	Attach(ctx context.Context, id cluster.DatasetID) error
	// Detach confirms that this node can no longer reach the device. Mounted or open is ErrBusy.
	Detach(ctx context.Context, id cluster.DatasetID) error
	// Evict keeps a machine, by the store's name, from the volume for good; ErrUnsupported where the store cannot.
	Evict(ctx context.Context, id cluster.DatasetID, machine string) error
	// Expect makes sure that List tells of those of the volumes that are in the store: one listing where one of them is not
	// known and was not looked for lately, and none otherwise.
	Expect(ctx context.Context, ids []cluster.DatasetID) error
	// Machine is this node's name in the store.
	Machine() string
	// Abilities says what the store behind can do.
	Abilities() cluster.Capabilities
}
