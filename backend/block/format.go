// SPDX-License-Identifier: Apache-2.0

package block

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/flocker-project/flocker/backend"
	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/mount"
)

// tail is what a filesystem leaves free at the end of its device, for the mark that it is being made.
const tail = 1 << 20

// samples is in how many places of a device, beside its start and its end, there must be zeros before it is formatted.
const samples = 64

// body is the part of a device of that size that its filesystem uses.
func body(size int64) int64 { return (size/tail - 1) * tail }

type state int

const (
	blank      state = iota // only zeros: never formatted
	unfinished              // formatting was begun here or on another node, and not finished: nobody has used it
	adopting                // a clone of another dataset's volume that was not made this one's to the end: nobody has used it
	whole
)

// content is what a device of a dataset carries.
type content struct {
	state state
	size  int64
	fs    mount.Filesystem
	mark  mark
}

// look reads what a device carries that is not mounted. What is neither the dataset's nor nothing is an error.
func (d *Driver) look(ctx context.Context, device string, id cluster.DatasetID) (content, error) {
	f, err := d.claim(ctx, device)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	return lookAt(f, id)
}

func lookAt(f *os.File, id cluster.DatasetID) (c content, err error) {
	if c.size, err = mount.DeviceSize(f); err != nil {
		return c, err
	}
	if body(c.size) < tail {
		return c, fmt.Errorf("%w: %s has %d bytes: too small for a filesystem", backend.ErrNoSpace, f.Name(), c.size)
	}
	if c.mark, err = readMark(f, body(c.size)); err != nil {
		return c, err
	}
	if c.fs, err = mount.Probe(f); err != nil {
		return c, fmt.Errorf("%s: %w", f.Name(), err)
	}
	switch {
	case c.mark.dataset == id && c.mark.clone:
		c.state = adopting
		return c, nil
	case c.mark.dataset == id:
		c.state = unfinished
		return c, nil
	case c.mark.dataset != "":
		return c, fmt.Errorf("%w: %s is being made ready for dataset %s", backend.ErrExists, f.Name(), c.mark.dataset)
	case c.fs.UUID == string(id):
		c.state = whole
		return c, nil
	case c.fs.Type != "":
		return c, fmt.Errorf("%w: %s carries a foreign filesystem, %s with UUID %s; it is left alone", backend.ErrExists, f.Name(), c.fs.Type, c.fs.UUID)
	}
	zero, err := isBlank(f, c.size)
	if err == nil && !zero {
		err = fmt.Errorf("%w: %s carries something that is not Flocker's (blkid -p may tell what); it is left alone", backend.ErrExists, f.Name())
	}
	return c, err
}

// isBlank looks at the first and the last MiB, where all that formats a device leaves its mark, and at places between.
func isBlank(f *os.File, size int64) (bool, error) {
	for _, span := range [][2]int64{{0, tail}, {body(size), size - body(size)}} {
		if zero, err := isZero(f, span[0], span[1]); err != nil || !zero {
			return false, err
		}
	}
	for i := range int64(samples) {
		at := body(size) / samples * i &^ 4095
		if zero, err := isZero(f, at, 4096); err != nil || !zero {
			return false, err
		}
	}
	return true, nil
}

func isZero(f *os.File, at, length int64) (bool, error) {
	data := make([]byte, length)
	if _, err := f.ReadAt(data, at); err != nil {
		return false, fmt.Errorf("read %d bytes at %d of %s: %w", length, at, f.Name(), err)
	}
	return len(bytes.Trim(data, "\x00")) == 0, nil
}

// prepare makes sure that an attached volume has a whole head. Without spec only what was begun is finished.
func (d *Driver) prepare(ctx context.Context, v backend.Volume, device string, spec *backend.Spec) error {
	mounted, err := mountsOf(v.Dataset, device)
	if err != nil {
		return err
	}
	if len(mounted) > 0 { // a head that is mounted is whole
		_, err := readRecord(mounted[0].Point, v.Dataset)
		return err
	}
	if err := d.let(v.Dataset); err != nil {
		return err
	}
	c, err := d.look(ctx, device, v.Dataset)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.ID, err)
	}
	m := c.mark
	switch {
	case c.state == whole:
		return nil
	case c.state == adopting && spec != nil:
		return fmt.Errorf("%w: volume %s is a clone that was not finished; it is not formatted", backend.ErrExists, v.ID)
	case c.state == adopting:
		d.config.Log.WarnContext(ctx, "clone was never finished", "dataset", v.Dataset, "volume", v.ID)
		return nil
	case spec != nil:
		m = mark{dataset: v.Dataset, filesystem: d.filesystemOf(spec.Profile), epoch: spec.Epoch, root: spec.Root}
	case c.state == blank:
		d.config.Log.WarnContext(ctx, "volume was never formatted", "dataset", v.Dataset, "volume", v.ID)
		return nil
	}
	d.config.Log.InfoContext(ctx, "formatting a volume", "dataset", v.Dataset, "volume", v.ID,
		"device", device, "filesystem", m.filesystem, "again", c.state == unfinished)
	if err := d.format(ctx, device, c, m); err != nil {
		return fmt.Errorf("volume %s: %w", v.ID, err)
	}
	d.note(v.Dataset, head{device: device, epoch: m.epoch})
	return nil
}

// format makes the head. The mark is on the device from before the first write to after the last, and while it is there
// nobody gets to the head: so what is found with a mark on it is nobody's data, whatever it looks like.
func (d *Driver) format(ctx context.Context, device string, c content, m mark) error {
	if err := d.writing(ctx, device, func(f *os.File) error {
		if err := m.write(f, body(c.size)); err != nil || c.state == blank {
			return err
		}
		return errors.Join(wipe(f, 0), wipe(f, body(c.size)-tail), f.Sync())
	}); err != nil {
		return err
	}
	fs := mount.Filesystem{Type: m.filesystem, UUID: string(m.dataset), Size: body(c.size)}
	if err := mount.Format(ctx, device, fs, c.state == blank); err != nil {
		return err
	}
	if err := furnish(device, m); err != nil {
		return err
	}
	return d.writing(ctx, device, func(f *os.File) error { return erase(f, body(c.size)) })
}

func (d *Driver) writing(ctx context.Context, device string, f func(*os.File) error) error {
	dev, err := d.claim(ctx, device)
	if err != nil {
		return err
	}
	return errors.Join(f(dev), dev.Close())
}

// wipe makes a MiB zero, so that a program that makes filesystems does not take fright at what it left there itself.
func wipe(f *os.File, at int64) error {
	if _, err := f.WriteAt(make([]byte, tail), at); err != nil {
		return fmt.Errorf("wipe %s: %w", f.Name(), err)
	}
	return nil
}

// furnish puts into a new filesystem what makes it a head.
func furnish(device string, m mark) error {
	return onRoot(device, m.filesystem, options(m.filesystem), func(root *os.File) error {
		// The folder containers see is made first: whoever finds the record finds a whole head.
		if err := backend.MakeData(descriptor(root), m.root); err != nil {
			return err
		}
		return writeRecord(root, record{Dataset: m.dataset, Epoch: m.epoch})
	})
}
