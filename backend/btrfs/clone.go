// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// clone makes a range of a file share another's blocks, which is in the base or in the snapshot itself.
func (a *applier) clone(ctx context.Context, c *command) error {
	name, from, of := c.path(fieldPath), c.path(fieldClonePath), c.uuid(fieldCloneUUID)
	shared := unix.FileCloneRange{
		Src_offset:  c.number(fieldCloneOffset),
		Src_length:  c.number(fieldCloneLength),
		Dest_offset: c.number(fieldOffset),
	}
	source := a.base
	if of.String() == a.expect.id {
		source = a.tree
	} else if c.err == nil && (a.base == nil || of != a.ofBase) {
		return fmt.Errorf("%w: it shares blocks with %s", errStream, of)
	}
	if c.err != nil {
		return c.err
	}
	src, err := source.data(from, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	fd, err := a.tree.writable(name)
	if err != nil {
		return err
	}
	shared.Src_fd = int64(src)
	err = unix.IoctlFileCloneRange(fd, &shared)
	if errors.Is(err, unix.EINVAL) {
		err = copyRange(ctx, fd, src, shared)
	}
	if err != nil {
		return fmt.Errorf("share blocks of %q with %q: %w", from, name, err)
	}
	return nil
}

// copyRange is for files that cannot share blocks: one has checksums, and the other was made here with chattr +C, which
// the stream does not carry.
func copyRange(ctx context.Context, to, from int, of unix.FileCloneRange) error {
	buf := make([]byte, min(of.Src_length, 1<<20))
	for done := uint64(0); done < of.Src_length; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Pread(from, buf[:min(of.Src_length-done, uint64(len(buf)))], int64(of.Src_offset+done))
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: the blocks to share are beyond the end", errStream)
		}
		if err == nil {
			err = writeAll(to, buf[:n], int64(of.Dest_offset+done))
		}
		if err != nil {
			return err
		}
		done += uint64(n)
	}
	return nil
}
