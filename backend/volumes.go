// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// Volume is one volume of network storage, as its store has it.
type Volume struct {
	ID      string // the store's own name of it, such as vol-0123456789abcdef0
	Dataset cluster.DatasetID
	Size    int64  // bytes
	Profile string // what it was made with, where the store keeps that
	Machine string // the store's name of the machine that has it attached; empty: none
	// Snapshots are those that we took, in the order of their names, of stores that have any.
	Snapshots []VolumeSnapshot
}

// VolumeSnapshot is a point of a volume's history, as its store has it.
type VolumeSnapshot struct {
	Name    string
	ID      string    // that no other snapshot of the store ever has
	Created time.Time // zero in a listing that does not tell
}

// Volumes is what a driver of network storage implements: volumes that one machine at a time attaches as block
// devices. What is on them, when they are mounted and what may be asked of them twice is backend/block's.
//
// Every method may be called again after any failure, crash or lost answer and then finishes what was begun. A method
// that has to wait for the store polls it fast enough to add little to the store's own time, and ends with ctx.
// Volumes that do not carry this cluster's mark are foreign: they are not listed, and no method changes them.
type Volumes interface {
	Catalogue
	// Machine is this node's name in the store; the same after a restart of the machine.
	Machine(ctx context.Context) (string, error)
	// Attach attaches the volume to this machine and returns the path of its device once that can be opened. Attached
	// here already is success. Attached to another machine is ErrBusy with that machine's name: nothing is ever taken
	// from another, and of two machines that ask at once one gets it. A volume that is gone is ErrNotFound.
	Attach(ctx context.Context, v Volume) (device string, err error)
	// Detach returns once this machine's kernel has no device of the volume and the store knows it, so that another
	// may attach. Not attached here is success; a device that something has open is ErrBusy, and stays.
	Detach(ctx context.Context, v Volume) error
	// Attached are the devices of the store's volumes that this machine's kernel has, by Volume.ID, foreign ones
	// among them where they cannot be told apart. It asks the kernel alone, never the store.
	Attached(ctx context.Context) (map[string]string, error)
}

// Catalogue is the part of Volumes that concerns no machine.
type Catalogue interface {
	// List returns every volume of this cluster from the store's own metadata, as one listing however many there are.
	List(ctx context.Context) ([]Volume, error)
	// Create makes a volume for spec.Dataset that holds only zeros, of at least spec.Size bytes (the store's own
	// default where that is 0), and marks it in the same step, so that a crash or a lost answer never leaves a second
	// one. A volume of the dataset that exists is returned as it is, unless its size or profile differ: ErrExists.
	Create(ctx context.Context, spec Spec) (Volume, error)
	// Destroy removes the volume and what the store keeps of it. Absent is success; attached anywhere is ErrBusy.
	Destroy(ctx context.Context, v Volume) error
}

// Evicter is for stores that can take a volume from another machine.
type Evicter interface {
	// Evict returns once the volume can be attached elsewhere. Not attached there is success.
	Evict(ctx context.Context, v Volume, machine string) error
	// Fences says that a machine that lives, is frozen or is cut off cannot write to the volume any more after Evict, even
	// when it comes back. Without it Evict is asked for only where the machine is known to be off.
	Fences() bool
}

// Readier is for stores of which attaching begins with something that takes no right to the volume, such as the start of a program or a
// connection. It is no call of the store's interface, and is not counted as one.
type Readier interface {
	// Ready does that ahead, also while another machine has the volume, which keeps it: until Attach nobody here reads or writes the
	// volume. Whatever it leaves ends with Unready, or with the process and the next one's List, or by itself after some minutes.
	Ready(ctx context.Context, v Volume) error
	// Unready takes it back. What is attached by now stays so.
	Unready(ctx context.Context, v Volume) error
}

// Grower is for stores that can enlarge a volume while it is attached.
type Grower interface {
	// Grow makes the volume at least size bytes large and, where it is attached here, its device too. As large or
	// larger already is success.
	Grow(ctx context.Context, v Volume, size int64) error
}

// VolumeSnapshotter is for stores that keep points of a volume's history. They stay with the volume wherever it is attached, List has them
// with their volumes, and Destroy removes them. A name is always a lineage's; whatever has another one is foreign: it is not listed and not
// removed, and a volume that has such is not destroyed (ErrBusy).
type VolumeSnapshotter interface {
	// CanSnapshot is nil, or ErrUnsupported with what keeps this very store from it. It asks nobody: what is not known yet is no either.
	CanSnapshot() error
	// Snapshots are those of one volume now. A volume that is gone is ErrNotFound.
	Snapshots(ctx context.Context, v Volume) ([]VolumeSnapshot, error)
	// TakeSnapshot keeps what the volume holds at one instant of the call: all that was flushed before it, nothing that was written after it,
	// and of what was under way as much as a loss of power would leave. The same name again is the snapshot that exists.
	TakeSnapshot(ctx context.Context, v Volume, name string) (VolumeSnapshot, error)
	// DeleteSnapshot removes one. Absent is success, as is a volume that is gone.
	DeleteSnapshot(ctx context.Context, v Volume, name string) error
	// CloneVolume makes a volume as Create does, of spec.Size and of at least the snapshot's, that holds what the snapshot does. After it
	// volume, snapshot and clone can be removed in any order. It is ErrNotFound where there is no such snapshot, unless the clone exists.
	CloneVolume(ctx context.Context, v Volume, snapshot string, spec Spec) (Volume, error)
}

// VolumeReverter is for stores with snapshots that can make a volume what it was in one.
type VolumeReverter interface {
	// Differs says whether a volume that is attached to this machine, and open nowhere, holds anything else than the snapshot.
	Differs(ctx context.Context, v Volume, snapshot string) (bool, error)
	// Rollback makes a volume that is attached to this machine, and open nowhere (ErrBusy), hold what the snapshot does. Its size stays, and
	// whoever wants its device afterwards attaches it again. A crash leaves the one or the other, or what the next Attach finishes.
	Rollback(ctx context.Context, v Volume, snapshot string) error
}
