// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// The kernel reads a snapshot's changed blocks one after the other: where a database has changed pages all over a large
// file, sending takes a disk's whole answer for each. So a difference is made by the kernel without data
// (BTRFS_SEND_FLAG_NO_FILE_DATA), and the blocks are read here, many at once, and put in their places.

const (
	// longestOutline bounds what is kept of a difference without its data: about 100,000 changed places.
	longestOutline = 4 << 20
)

// errLong says that an outline is longer than is kept.
var errLong = errors.New("a difference of very many changes")

// outline is a difference without its data.
type outline struct {
	raw   []byte
	steps []step
}

// step is a command of an outline. Where it stands for data it has extents, and is not sent itself.
type step struct {
	raw    []byte
	extent extent
}

// extent is a part of a file whose data was left out; the zero one is none.
type extent struct {
	path   string
	offset int64
	size   int64
}

// bounded keeps what is written to it, up to a length.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > longestOutline {
		return 0, errLong
	}
	return b.Buffer.Write(p)
}

// outlineOf asks the kernel for a difference without data. None, and no error, says that the data has to be the kernel's.
func (d *Driver) outlineOf(ctx context.Context, snapshot string, parent uint64) (*outline, error) {
	var b bounded
	if err := d.kernelSend(ctx, snapshot, parent, withoutData, &b); errors.Is(err, errLong) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	o, err := parseOutline(b.Bytes())
	if err != nil || !o.telling() {
		return nil, err
	}
	return o, nil
}

func parseOutline(raw []byte) (*outline, error) {
	o := &outline{raw: raw[:min(len(raw), len(streamMagic)+4)]}
	stream := readCommands(bytes.NewReader(raw))
	for {
		c, err := stream.next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return o, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the kernel's difference: %w", err)
		}
		s := step{raw: slices.Clone(stream.buf)}
		if c.verb == verbUpdated {
			s.extent = extent{path: c.path(fieldPath), offset: int64(c.number(fieldOffset)), size: int64(c.number(fieldSize))}
			if c.err == nil && (s.extent.path == "" || s.extent.offset < 0 || s.extent.size <= 0) {
				c.err = fmt.Errorf("%w: an extent %+v", errStream, s.extent)
			}
		}
		if c.err != nil {
			return nil, fmt.Errorf("the kernel's difference: %w", c.err)
		}
		o.steps = append(o.steps, s)
	}
}

// telling says whether each extent's path means in the snapshot what it means in the stream, which names files as they
// are called by the time of the command: so nothing that comes later may change what a path means.
func (o *outline) telling() bool {
	later := map[string]bool{}
	for _, s := range slices.Backward(o.steps) {
		for p := s.extent.path; p != "" && p != "."; p = path.Dir(p) {
			if later[p] {
				return false
			}
		}
		c, err := parseCommand(s.raw)
		if err != nil {
			return false
		}
		if slices.Contains(naming, c.verb) {
			later[c.path(fieldPath)] = true
		}
		if c.verb == verbRename {
			later[c.path(fieldPathTo)] = true
		}
	}
	return true
}

// naming are the commands after which a path may mean something else.
var naming = []verb{
	verbMakeFile, verbMakeDir, verbMakeNode, verbMakeFifo, verbMakeSocket, verbSymlink, verbRename, verbLink, verbUnlink, verbRemoveDir,
}

// send writes the difference with its data, which it reads from the snapshot.
func (o *outline) send(ctx context.Context, snapshot string, w io.Writer) error {
	root, err := openBeneath(snapshot)
	if err != nil {
		return err
	}
	ahead := &readAhead{root: root, extents: o.extents()}
	err = o.write(ctx, ahead, w)
	return errors.Join(err, ahead.close(), root.close())
}

func (o *outline) extents() (all []extent) {
	for _, s := range o.steps {
		if s.extent.size > 0 {
			all = append(all, s.extent)
		}
	}
	return all
}

func (o *outline) write(ctx context.Context, ahead *readAhead, w io.Writer) error {
	out := &bytes.Buffer{}
	out.Write(o.raw)
	for _, s := range o.steps {
		if s.extent.size == 0 {
			out.Write(s.raw)
			continue
		}
		fd, err := ahead.next()
		if err != nil {
			return err
		}
		for e := s.extent; e.size > 0; {
			n := min(e.size, largestWrite)
			if err := appendWrite(out, fd, extent{path: e.path, offset: e.offset, size: n}); err != nil {
				return err
			}
			e.offset, e.size = e.offset+n, e.size-n
			if err := flush(ctx, out, w); err != nil {
				return err
			}
		}
	}
	_, err := out.WriteTo(w)
	return err
}

// flush writes what has come together once it is worth a write.
func flush(ctx context.Context, out *bytes.Buffer, w io.Writer) error {
	const worth = 256 << 10
	if out.Len() < worth {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := out.WriteTo(w)
	return err
}

// largestWrite is the data of one command, as much as the kernel puts in one (BTRFS_SEND_READ_SIZE); its length has 16 bits.
const largestWrite = 48 << 10

// appendWrite adds a command that writes an extent.
func appendWrite(out *bytes.Buffer, fd int, e extent) error {
	put := binary.LittleEndian.AppendUint16
	b := slices.Grow(out.AvailableBuffer(), headerSize+3*4+len(e.path)+8+int(e.size))
	b = append(b, make([]byte, headerSize)...)
	b = append(put(put(b, uint16(fieldPath)), uint16(len(e.path))), e.path...)
	b = binary.LittleEndian.AppendUint64(put(put(b, uint16(fieldOffset)), 8), uint64(e.offset))
	b = put(put(b, uint16(fieldData)), uint16(e.size))
	data := len(b)
	b = b[:data+int(e.size)]
	if err := readFull(fd, b[data:], e.offset); err != nil {
		return fmt.Errorf("read %q: %w", e.path, err)
	}
	seal(b, verbWrite)
	out.Write(b)
	return nil
}

// seal completes a command's header.
func seal(b []byte, v verb) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-headerSize))
	binary.LittleEndian.PutUint16(b[4:], uint16(v))
	binary.LittleEndian.PutUint32(b[6:], checksum(b))
}

func readFull(fd int, into []byte, at int64) error {
	for len(into) > 0 {
		n, err := unix.Pread(fd, into, at)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		into, at = into[n:], at+int64(n)
	}
	return nil
}
