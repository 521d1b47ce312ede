// SPDX-License-Identifier: Apache-2.0

// Package userdev gives this machine a block device of a remote volume without a driver for it in the kernel: a process
// in user space speaks to the volume's server and shows it as a file, and a loop device makes that a block device.
//
// It is no driver of its own but a part that several of them can be made of (NBD, RBD), which is why drivers, and
// only they, may import it.
package userdev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/mount"
)

// ErrDied says that a device's server has ended while the device was in use.
var ErrDied = errors.New("the process that serves the device has ended")

// ErrUnflushed says that a device is gone, and that its last writes could not be confirmed to be with the volume's server.
var ErrUnflushed = errors.New("the last writes could not be flushed")

// DefaultDir is where devices are, one folder for each kind of storage below it. It is empty after a boot, as the kernel is.
const DefaultDir = "/run/flocker/devices"

// What a device's folder holds besides the files of its Spec.
const (
	diskFile   = "disk" // the volume as a file, on which the loop device is
	socketFile = "qmp"  // takes orders to the server
	logFile    = "log"
)

// maxPath is the longest path of a socket.
const maxPath = 107

// Spec is a volume to make a device of.
type Spec struct {
	ID string // the volume's, which is also its folder's name
	// Blockdev says to QEMU's block layer what the volume is, as in its --blockdev option, without a node name.
	Blockdev map[string]any
	// Objects are what Blockdev refers to, such as keys, as in the --object option.
	Objects []map[string]any
	// Files are put into the device's folder before its server starts and removed with it. Secrets belong here: what is
	// in Blockdev and Objects, everybody on the machine can read.
	Files map[string][]byte
	// Admit, where there is one, is asked when the server has the volume open and nobody has a device of it yet. Its error ends the server.
	Admit func(ctx context.Context) error
}

// Devices are this machine's devices of one kind of storage. The kernel and its list of processes are all that they are
// known from, so that whoever opens the same folder later finds what runs.
type Devices struct {
	dir     string
	log     *slog.Logger
	program program
	locks   sync.Map // by ID, a *sync.Mutex
	ready   sync.Map // by ID, a *ready
	// readyFor is the constant, but in tests.
	readyFor time.Duration
}

// Open makes the folder. It refuses one that is too deep for what has to be put into it.
func Open(dir string, log *slog.Logger) (*Devices, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of devices: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of devices: %w", err)
	}
	// Where the kernel tells a path, it tells the one without symbolic links.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("folder of devices: %w", err)
	}
	return &Devices{dir: dir, log: log, readyFor: readyFor}, nil
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// check refuses an id that is a path, or makes one that is too long.
func (d *Devices) check(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("device %q: letters, digits, dots, dashes and underscores make an id", id)
	}
	if path := d.file(id, socketFile); len(path) > maxPath {
		return fmt.Errorf("device %s: %s is longer than the %d bytes of a socket's path", id, path, maxPath)
	}
	return nil
}

// Folder is where the files of a device's Spec are, for its Objects to refer to.
func (d *Devices) Folder(id string) string { return filepath.Join(d.dir, id) }

func (d *Devices) file(id, name string) string { return filepath.Join(d.dir, id, name) }

// lock lets one change of a device happen at a time.
func (d *Devices) lock(id string) (unlock func()) {
	mutex, _ := d.locks.LoadOrStore(id, &sync.Mutex{})
	mutex.(*sync.Mutex).Lock()
	return mutex.(*sync.Mutex).Unlock
}

// tryLock is lock where nobody else has it.
func (d *Devices) tryLock(id string) (unlock func(), free bool) {
	mutex, _ := d.locks.LoadOrStore(id, &sync.Mutex{})
	return mutex.(*sync.Mutex).Unlock, mutex.(*sync.Mutex).TryLock()
}

// Start makes a device of the volume and returns its path. One that runs already is returned as it is, whatever the
// Spec says; one whose server has ended is made anew, or is ErrDied while something has it open.
func (d *Devices) Start(ctx context.Context, spec Spec) (device string, err error) {
	if err := d.check(spec.ID); err != nil {
		return "", err
	}
	defer d.lock(spec.ID)()
	if device, err = d.serving(spec.ID); device != "" || err != nil {
		return device, err
	}
	if device, err = d.start(ctx, spec); err != nil {
		return "", d.given(ctx, spec.ID, err)
	}
	return device, nil
}

// given takes back what was begun of a device. The error that counts is the first; what cannot be taken back now the next Start or Stop takes.
func (d *Devices) given(ctx context.Context, id string, err error) error {
	if left := d.stop(context.WithoutCancel(ctx), id); left != nil {
		d.log.WarnContext(ctx, "what was begun of a device is left until the next try", "volume", id, "error", left)
	}
	return fmt.Errorf("device of volume %s: %w", id, err)
}

// sweep takes away what is left of a device that nobody has open. What its server did not get any more is lost as in a loss
// of power: nobody was told that it is safe.
func (d *Devices) sweep(ctx context.Context, id string) error {
	err := d.stop(ctx, id)
	switch {
	case errors.Is(err, ErrUnflushed):
		d.log.Warn("a device was left without a server", "volume", id, "error", err)
		return nil
	case errors.Is(err, mount.ErrBusy):
		return fmt.Errorf("%w: %w", ErrDied, err)
	}
	return err
}

func (d *Devices) start(ctx context.Context, spec Spec) (string, error) {
	version, err := d.program.version(ctx)
	if err != nil {
		return "", err
	}
	opened, err := d.isReady(spec.ID)
	if err == nil && opened == nil {
		err = d.open(ctx, spec)
	}
	if err != nil {
		return "", err
	}
	d.unready(spec.ID)
	if spec.Admit != nil {
		if err := spec.Admit(ctx); err != nil {
			return "", err
		}
	}
	disk, err := os.OpenFile(d.file(spec.ID, diskFile), os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer disk.Close()
	device, err := mount.MakeLoop(ctx, disk, spec.ID)
	if err != nil {
		return "", err
	}
	direct := version.holdsParallelWrites()
	if direct {
		if err := directIO(device); err != nil {
			return "", err
		}
	}
	d.log.Info("user-space block device started", "volume", spec.ID, "device", device,
		"program", Program, "version", version.String(), "direct_io", direct, "reason", version.reason())
	return device, nil
}

// open lets a server open the volume, in place of what a crash of this program, or of a server, has left.
func (d *Devices) open(ctx context.Context, spec Spec) error {
	if err := d.sweep(ctx, spec.ID); err != nil {
		return err
	}
	if err := d.furnish(spec); err != nil {
		return err
	}
	return d.serve(ctx, spec)
}

// furnish makes the device's folder with what has to be in it before the server starts.
func (d *Devices) furnish(spec Spec) error {
	if err := os.MkdirAll(d.Folder(spec.ID), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(d.file(spec.ID, diskFile), nil, 0o600); err != nil {
		return err
	}
	for name, content := range spec.Files {
		if !idForm.MatchString(name) || slices.Contains([]string{diskFile, socketFile, logFile}, name) {
			return fmt.Errorf("file %q: not a name for it", name)
		}
		if err := os.WriteFile(d.file(spec.ID, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// directIO lets a loop device pass what it gets on at once, many requests at a time, without a cache of its own.
func directIO(device string) error {
	f, err := mount.OpenLoop(device)
	if err != nil {
		return fmt.Errorf("direct I/O of %s: %w", device, err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_DIRECT_IO, 1); err != nil {
		return fmt.Errorf("direct I/O of %s: %w", device, err)
	}
	return nil
}
