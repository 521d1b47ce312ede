// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/flocker-project/flocker/backend"
)

// applier carries a send stream's commands out in a subvolume that is a writable snapshot of the base, or empty.
type applier struct {
	tree   *beneath
	base   *beneath // nil in a full stream
	ofBase uuid     // content of the base
	expect expected
	// begun is told the first command, once it is known to be the right one.
	begun func(uuid, uint64)
}

// expected is what a send stream has to be.
type expected struct {
	name   string
	id     string
	baseID string // empty: a full stream
}

func (a *applier) close() error {
	if a.base == nil {
		return a.tree.close()
	}
	return errors.Join(a.tree.close(), a.base.close())
}

// run applies the stream to its end. It looks at ctx before each command: who gave up waiting removes the subvolume.
func (a *applier) run(ctx context.Context, r io.Reader) error {
	stream := readCommands(r)
	for first := true; ; first = false {
		c, err := stream.next()
		if errors.Is(err, io.EOF) {
			return a.tree.forget()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if first {
			err = a.identify(c)
		} else {
			err = a.apply(ctx, c)
		}
		switch {
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			return fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENOTEMPTY):
			return fmt.Errorf("%w: %w", backend.ErrUnfit, err)
		case err != nil:
			return err
		}
	}
}

// identify checks the first command, which says what the stream is of.
func (a *applier) identify(c *command) error {
	name, id, transaction, base := c.path(fieldPath), c.uuid(fieldUUID), c.number(fieldTransaction), ""
	if c.verb == verbSnapshot {
		base = c.uuid(fieldCloneUUID).String()
	}
	if c.err != nil {
		return c.err
	}
	known := c.verb == verbSubvolume || c.verb == verbSnapshot
	if !known || name != a.expect.name || id.String() != a.expect.id || base != a.expect.baseID {
		return fmt.Errorf("%w: it is of %q (%s) as a difference to %q, not of %q (%s) to %q",
			errStream, name, id, base, a.expect.name, a.expect.id, a.expect.baseID)
	}
	a.begun(id, transaction)
	return nil
}

// apply carries out one command. Its fields are checked before anything is done.
func (a *applier) apply(ctx context.Context, c *command) error {
	switch c.verb {
	case verbWrite:
		return a.write(c)
	case verbClone:
		return a.clone(ctx, c)
	case verbMakeFile, verbMakeDir, verbMakeNode, verbMakeFifo, verbMakeSocket, verbSymlink:
		return a.make(c)
	case verbRename, verbLink, verbUnlink, verbRemoveDir:
		return a.name(c)
	case verbSetAttribute, verbRemoveAttribute, verbTruncate, verbMode, verbOwner, verbTimes:
		return a.change(c)
	case verbEnd:
		return nil
	case verbSubvolume, verbSnapshot:
		return fmt.Errorf("%w: a second snapshot in the stream", errStream)
	case verbUpdated:
		return fmt.Errorf("%w: data is left out", errStream)
	}
	return fmt.Errorf("%w: command %d is not known", errStream, c.verb)
}

func (a *applier) write(c *command) error {
	name, offset, data := c.path(fieldPath), c.number(fieldOffset), c.bytes(fieldData)
	if c.err != nil {
		return c.err
	}
	fd, err := a.tree.writable(name)
	if err != nil {
		return err
	}
	if err := writeAll(fd, data, int64(offset)); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

func writeAll(fd int, data []byte, at int64) error {
	for len(data) > 0 {
		n, err := unix.Pwrite(fd, data, at)
		if err != nil {
			return err
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

// make makes a new object, with no rights for others until the commands that follow give them.
func (a *applier) make(c *command) error {
	name := c.path(fieldPath)
	var create func(dir int, last string) error
	switch c.verb {
	case verbMakeFile:
		create = func(dir int, last string) error { return unix.Mknodat(dir, last, unix.S_IFREG|0o600, 0) }
	case verbMakeDir:
		create = func(dir int, last string) error { return unix.Mkdirat(dir, last, 0o700) }
	case verbMakeFifo:
		create = func(dir int, last string) error { return unix.Mknodat(dir, last, unix.S_IFIFO|0o600, 0) }
	case verbMakeSocket:
		create = func(dir int, last string) error { return unix.Mknodat(dir, last, unix.S_IFSOCK|0o600, 0) }
	case verbMakeNode:
		// The stream has the device as the kernel's new_encode_dev makes it, which is what mknod(2) takes.
		mode, device := uint32(c.number(fieldMode))&unix.S_IFMT, int(c.number(fieldDevice))
		create = func(dir int, last string) error { return unix.Mknodat(dir, last, mode, device) }
	default:
		text := string(c.bytes(fieldPathLink)) // a symbolic link's, which is only text
		create = func(dir int, last string) error { return unix.Symlinkat(text, dir, last) }
	}
	return a.in(c, name, create)
}

// in calls f with the folder of a path and its last name.
func (a *applier) in(c *command, name string, f func(dir int, last string) error) error {
	if c.err != nil {
		return c.err
	}
	dir, last, err := a.tree.parent(name)
	if err == nil {
		err = f(dir, last)
	}
	if err != nil {
		return fmt.Errorf("command %d on %q: %w", c.verb, name, err)
	}
	return nil
}

// name changes which names there are. What was kept open by its name may be something else afterwards.
func (a *applier) name(c *command) error {
	name := c.path(fieldPath)
	var err error
	switch c.verb {
	case verbRename:
		err = a.pair(c, name, c.path(fieldPathTo), func(from int, old string, to int, fresh string) error {
			return unix.Renameat(from, old, to, fresh)
		})
	case verbLink:
		err = a.pair(c, c.path(fieldPathLink), name, func(from int, old string, to int, fresh string) error {
			return unix.Linkat(from, old, to, fresh, 0)
		})
	case verbUnlink:
		err = a.in(c, name, func(dir int, last string) error { return unix.Unlinkat(dir, last, 0) })
	default:
		err = a.in(c, name, func(dir int, last string) error { return unix.Unlinkat(dir, last, unix.AT_REMOVEDIR) })
	}
	return errors.Join(err, a.tree.forget())
}

// pair calls f with the folders and last names of two paths.
func (a *applier) pair(c *command, old, fresh string, f func(from int, old string, to int, fresh string) error) error {
	return a.in(c, old, func(dir int, from string) error {
		// The folder that is kept open is replaced by the next one.
		first, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(first)
		return a.in(c, fresh, func(dir int, to string) error { return f(first, from, dir, to) })
	})
}

// change sets what an object has besides its data.
func (a *applier) change(c *command) error {
	name := c.path(fieldPath)
	switch c.verb {
	case verbSetAttribute:
		key, value := string(c.bytes(fieldAttributeName)), c.bytes(fieldAttributeValue)
		return a.reached(c, name, func(path string) error { return unix.Setxattr(path, key, value, 0) })
	case verbRemoveAttribute:
		key := string(c.bytes(fieldAttributeName))
		return a.reached(c, name, func(path string) error { return unix.Removexattr(path, key) })
	case verbTruncate:
		return a.truncate(c, name, int64(c.number(fieldSize)))
	case verbMode:
		mode := uint32(c.number(fieldMode))
		return a.reached(c, name, func(path string) error { return unix.Chmod(path, mode) })
	case verbOwner:
		return a.owner(c, name, int(c.number(fieldUser)), int(c.number(fieldGroup)))
	default:
		times := []unix.Timespec{c.time(fieldAccessed), c.time(fieldModified)}
		return a.in(c, name, func(dir int, last string) error {
			return unix.UtimesNanoAt(dir, last, times, unix.AT_SYMLINK_NOFOLLOW)
		})
	}
}

// truncate writes too: zeros after the new end.
func (a *applier) truncate(c *command, name string, size int64) error {
	if c.err != nil {
		return c.err
	}
	fd, err := a.tree.writable(name)
	if err == nil {
		err = unix.Ftruncate(fd, size)
	}
	if err != nil {
		return fmt.Errorf("truncate %q: %w", name, err)
	}
	return nil
}

func (a *applier) reached(c *command, name string, f func(path string) error) error {
	if c.err != nil {
		return c.err
	}
	if err := a.tree.reached(name, f); err != nil {
		return fmt.Errorf("command %d on %q: %w", c.verb, name, err)
	}
	return nil
}

// capabilities is the attribute that a change of owner removes (chown(2)); kernels before 5.8 send it ahead of the owner.
const capabilities = "security.capability"

// owner keeps what a change of owner takes from a file besides: its capabilities and its setuid and setgid bits. The
// kernel sends those only where they differ from the base's.
func (a *applier) owner(c *command, name string, user, group int) error {
	return a.in(c, name, func(dir int, last string) error {
		return a.tree.reached(name, func(path string) error {
			var before unix.Stat_t
			if err := unix.Stat(path, &before); err != nil {
				return err
			}
			var kept [256]byte
			n, absent := unix.Getxattr(path, capabilities, kept[:])
			err := unix.Fchownat(dir, last, user, group, unix.AT_SYMLINK_NOFOLLOW)
			if err == nil && before.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
				err = unix.Chmod(path, before.Mode&^unix.S_IFMT)
			}
			if err == nil && absent == nil {
				err = unix.Setxattr(path, capabilities, kept[:n], 0)
			}
			return err
		})
	})
}
