// SPDX-License-Identifier: Apache-2.0

package block

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// recordAttr is an extended attribute of a filesystem's root, which only root can see and containers cannot reach.
const recordAttr = "trusted.flocker.head"

// record is what a filesystem says of itself.
type record struct {
	Dataset cluster.DatasetID `json:"dataset"`
	Epoch   cluster.Epoch     `json:"epoch"`
}

// readRecord reads whose head a folder is the root of.
func readRecord(path string, id cluster.DatasetID) (record, error) {
	var r record
	buf := make([]byte, 1024)
	n, err := unix.Getxattr(path, recordAttr, buf)
	if errors.Is(err, unix.ENODATA) {
		return r, fmt.Errorf("%w: the filesystem is not Flocker's: its root has no %s", backend.ErrChanged, recordAttr)
	}
	if err != nil {
		return r, fmt.Errorf("read %s of %s: %w", recordAttr, path, err)
	}
	if err := json.Unmarshal(buf[:n], &r); err != nil {
		return r, fmt.Errorf("%s of %s: %w", recordAttr, path, err)
	}
	if r.Dataset != id {
		return r, fmt.Errorf("%w: the filesystem is dataset %s's", backend.ErrChanged, r.Dataset)
	}
	return r, nil
}

// descriptor is a path of an open file.
func descriptor(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// writeRecord returns once the record is on the device.
func writeRecord(root *os.File, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record of dataset %s: %w", r.Dataset, err)
	}
	if err := unix.Fsetxattr(int(root.Fd()), recordAttr, data, 0); err != nil {
		return fmt.Errorf("write %s of %s: %w", recordAttr, root.Name(), err)
	}
	if err := root.Sync(); err != nil {
		return fmt.Errorf("flush %s of %s: %w", recordAttr, root.Name(), err)
	}
	return nil
}

// raiseEpoch writes an epoch that is not smaller than the one written.
func raiseEpoch(root *os.File, id cluster.DatasetID, epoch cluster.Epoch) (cluster.Epoch, error) {
	r, err := readRecord(descriptor(root), id)
	switch {
	case err != nil:
		return 0, err
	case epoch < r.Epoch:
		return 0, fmt.Errorf("%w: epoch %d is written on it, which is newer than %d", backend.ErrChanged, r.Epoch, epoch)
	case epoch == r.Epoch:
		// It may have been written by a process that died before it was flushed.
		return epoch, root.Sync()
	}
	r.Epoch = epoch
	return epoch, writeRecord(root, r)
}

// options of a mount beside noatime. After an error ext4 would go on writing by default, where the others stop. And it would write zeros to
// the whole inode tables of a new volume in the background, more than a gigabyte of each 64, which an unmount in the gap of a move may have
// to wait for; the one thread that does so for all ext4 of a machine would wait for the slowest store. They are made zero where they are used.
func options(fstype string) map[string]string {
	if fstype == "ext4" {
		return map[string]string{"errors": "remount-ro", "noinit_itable": ""}
	}
	return nil
}

// openHead mounts a dataset's whole head on no path. The journal is replayed by the mount; nothing else is checked, since that
// would take long. A volume that grew gets a filesystem that fills it.
func (d *Driver) openHead(ctx context.Context, device string, id cluster.DatasetID) (*held, error) {
	c, err := d.look(ctx, device, id)
	if err != nil {
		return nil, err
	}
	if c.state != whole {
		return nil, fmt.Errorf("%w: volume on %s is not formatted to its end", backend.ErrNotFound, device)
	}
	fs, err := mount.OpenDevice(device, c.fs.Type, options(c.fs.Type))
	if err != nil {
		return nil, err
	}
	if err := d.check(ctx, fs, id, c); err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	return &held{fs, device, c.fs.Type}, nil
}

func (d *Driver) check(ctx context.Context, fs *mount.Detached, id cluster.DatasetID, c content) error {
	root, err := fs.Root()
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := readRecord(descriptor(root), id); err != nil {
		return err
	}
	if c.size-c.fs.Size < 2*tail {
		return nil
	}
	if err := mount.Enlarge(root, c.fs.Type, body(c.size)); err != nil { // the data is there all the same
		d.config.Log.WarnContext(ctx, "filesystem does not fill its volume", "dataset", id, "error", err)
	}
	return nil
}
