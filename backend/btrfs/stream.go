// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errStream says that what arrives is not the send stream that was announced.
var errStream = errors.New("not the snapshot that was announced")

// Of the kernel's fs/btrfs/send.h.
const (
	streamMagic   = "btrfs-stream\x00"
	streamVersion = 1

	headerSize = 10
	// maxCommand bounds a command's body; the kernel's buffer for version 1 has 64 KiB.
	maxCommand = 128 << 10
)

// verb is what a command of a send stream does.
type verb uint16

const (
	verbSubvolume verb = iota + 1
	verbSnapshot
	verbMakeFile
	verbMakeDir
	verbMakeNode
	verbMakeFifo
	verbMakeSocket
	verbSymlink
	verbRename
	verbLink
	verbUnlink
	verbRemoveDir
	verbSetAttribute
	verbRemoveAttribute
	verbWrite
	verbClone
	verbTruncate
	verbMode
	verbOwner
	verbTimes
	verbEnd
	verbUpdated // data that was left out
)

// field is an attribute of a command.
type field uint16

const (
	fieldUUID field = iota + 1
	fieldTransaction
	fieldInode
	fieldSize
	fieldMode
	fieldUser
	fieldGroup
	fieldDevice
	fieldChanged
	fieldModified
	fieldAccessed
	fieldCreated
	fieldAttributeName
	fieldAttributeValue
	fieldPath
	fieldPathTo
	fieldPathLink
	fieldOffset
	fieldData
	fieldCloneUUID
	fieldCloneTransaction
	fieldClonePath
	fieldCloneOffset
	fieldCloneLength

	fieldEnd
)

// command is one of a send stream's. What it gives is valid until the next one is read; a field that is missing or
// malformed makes err say so.
type command struct {
	verb   verb
	fields [fieldEnd][]byte
	err    error
}

func (c *command) bytes(f field) []byte {
	value := c.fields[f]
	if value == nil && c.err == nil {
		c.err = fmt.Errorf("%w: command %d lacks field %d", errStream, c.verb, f)
	}
	return value
}

func (c *command) number(f field) uint64 {
	value := c.bytes(f)
	if len(value) == 8 {
		return binary.LittleEndian.Uint64(value)
	}
	if c.err == nil {
		c.err = fmt.Errorf("%w: field %d of command %d has %d bytes", errStream, f, c.verb, len(value))
	}
	return 0
}

func (c *command) uuid(f field) (u uuid) {
	value := c.bytes(f)
	if len(value) != len(u) && c.err == nil {
		c.err = fmt.Errorf("%w: field %d of command %d has %d bytes", errStream, f, c.verb, len(value))
	}
	copy(u[:], value)
	return u
}

// time is an instant: seconds and nanoseconds.
func (c *command) time(f field) unix.Timespec {
	value := c.bytes(f)
	if len(value) == 12 {
		return unix.Timespec{
			Sec:  int64(binary.LittleEndian.Uint64(value)),
			Nsec: int64(binary.LittleEndian.Uint32(value[8:])),
		}
	}
	if c.err == nil {
		c.err = fmt.Errorf("%w: field %d of command %d has %d bytes", errStream, f, c.verb, len(value))
	}
	return unix.Timespec{}
}

// path is a path inside the snapshot; empty is its root.
func (c *command) path(f field) string {
	p := string(c.bytes(f))
	if p == "" {
		return p
	}
	strange := func(part string) bool { return part == "" || part == "." || part == ".." }
	if c.err == nil && (len(p) >= unix.PathMax || strings.ContainsRune(p, 0) || slices.ContainsFunc(strings.Split(p, "/"), strange)) {
		c.err = fmt.Errorf("%w: path %q", errStream, p)
	}
	return p
}

// commands reads a send stream. Its end counts only if the END command and the end of the input are there.
type commands struct {
	from  *bufio.Reader
	begun bool
	ended bool
	buf   []byte
}

func readCommands(r io.Reader) *commands {
	return &commands{from: bufio.NewReaderSize(r, 256<<10)}
}

// next is the next command; after the END command and the end of the input it answers io.EOF.
func (s *commands) next() (*command, error) {
	if !s.begun {
		if err := s.header(); err != nil {
			return nil, err
		}
		s.begun = true
	}
	if s.ended {
		if _, err := s.from.ReadByte(); !errors.Is(err, io.EOF) {
			return nil, errors.Join(fmt.Errorf("%w: more after its end", errStream), err)
		}
		return nil, io.EOF
	}
	header, err := s.from.Peek(headerSize)
	if err != nil {
		return nil, cut(err)
	}
	size := binary.LittleEndian.Uint32(header)
	if size > maxCommand {
		return nil, fmt.Errorf("%w: a command of %d bytes", errStream, size)
	}
	s.buf = slices.Grow(s.buf[:0], headerSize+int(size))[:headerSize+int(size)]
	if _, err := io.ReadFull(s.from, s.buf); err != nil {
		return nil, cut(err)
	}
	c, err := parseCommand(s.buf)
	s.ended = err == nil && c.verb == verbEnd
	return c, err
}

func (s *commands) header() error {
	var header [len(streamMagic) + 4]byte
	if _, err := io.ReadFull(s.from, header[:]); err != nil {
		return cut(err)
	}
	if !bytes.HasPrefix(header[:], []byte(streamMagic)) {
		return fmt.Errorf("%w: no btrfs send stream", errStream)
	}
	if version := binary.LittleEndian.Uint32(header[len(streamMagic):]); version != streamVersion {
		return fmt.Errorf("%w: version %d of the send stream is not known", errStream, version)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseCommand takes a whole command apart and compares its checksum: the kernel's crc32c begins at 0 and is not inverted,
// and is made while its own place is zero.
func parseCommand(raw []byte) (*command, error) {
	c := &command{verb: verb(binary.LittleEndian.Uint16(raw[4:]))}
	sum := binary.LittleEndian.Uint32(raw[6:])
	if checksum(raw) != sum {
		return nil, fmt.Errorf("%w: command %d is damaged", errStream, c.verb)
	}
	for body := raw[headerSize:]; len(body) > 0; {
		if len(body) < 4 {
			return nil, fmt.Errorf("%w: command %d is malformed", errStream, c.verb)
		}
		f, size := field(binary.LittleEndian.Uint16(body)), int(binary.LittleEndian.Uint16(body[2:]))
		body = body[4:]
		if f == 0 || f >= fieldEnd || size > len(body) {
			return nil, fmt.Errorf("%w: command %d has a field %d of %d bytes", errStream, c.verb, f, size)
		}
		c.fields[f], body = body[:size:size], body[size:]
	}
	return c, nil
}

func checksum(raw []byte) uint32 {
	sum := crc32.Update(^uint32(0), castagnoli, raw[:6])
	sum = crc32.Update(sum, castagnoli, make([]byte, headerSize-6))
	return ^crc32.Update(sum, castagnoli, raw[headerSize:])
}

// cut is an end of the input where none belongs.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the stream broke off: %w", io.ErrUnexpectedEOF)
	}
	return err
}
