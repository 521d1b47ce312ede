// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"

	"github.com/flocker-project/flocker/cluster"
)

// Volume is one volume of network storage, as its store has it.
type Volume struct {
	ID      string // the store's own name of it, such as vol-0123456789abcdef0
	Dataset cluster.DatasetID
	Size    int64  // bytes
	Profile string // what it was made with, where the store keeps that
	Machine string // the store's name of the machine that has it attached; empty: none
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
