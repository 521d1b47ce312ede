// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// errStream says that what arrives is not the send stream that was announced.
var errStream = errors.New("not the snapshot that was announced")

// Of the kernel's fs/btrfs/send.h.
const (
	streamMagic = "btrfs-stream\x00"

	commandSubvol   = 1
	commandSnapshot = 2
	commandSymlink  = 8
	commandWrite    = 15
	commandEnd      = 21

	attributeUUID      = 1
	attributePath      = 15
	attributePathTo    = 16
	attributePathLink  = 17
	attributeCloneUUID = 20
	attributeClonePath = 22
	attributeData      = 19

	headerSize = 10
	maxCommand = 16 << 20
)

// announced is what a send stream has to be.
type announced struct {
	name   string
	id     string
	baseID string // empty: a full stream
}

// checkedStream passes a send stream on, command by command, and fails before the first that does not belong in it. A
// stream that breaks off between two commands looks whole to `btrfs receive`; here it is an error.
type checkedStream struct {
	from  *bufio.Reader
	want  announced
	next  []byte // of the command being passed on
	first bool
	end   bool
	err   error
	buf   []byte
}

func checkStream(r io.Reader, want announced) *checkedStream {
	return &checkedStream{from: bufio.NewReaderSize(r, 256<<10), want: want}
}

// Read passes on; after the END command and the end of the input it is io.EOF.
func (s *checkedStream) Read(p []byte) (int, error) {
	for len(s.next) == 0 {
		if s.err == nil {
			s.err = s.command()
		}
		if s.err != nil {
			return 0, s.err
		}
	}
	n := copy(p, s.next)
	s.next = s.next[n:]
	return n, nil
}

func (s *checkedStream) take(n int) ([]byte, error) {
	s.buf = slices.Grow(s.buf[:0], n)[:n]
	_, err := io.ReadFull(s.from, s.buf)
	if errors.Is(err, io.EOF) && n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return s.buf, err
}

func (s *checkedStream) command() error {
	if !s.first {
		return s.begin()
	}
	if s.end {
		if _, err := s.from.ReadByte(); !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("%w: more after its end", errStream), err)
		}
		return io.EOF
	}
	header, err := s.from.Peek(headerSize)
	if err != nil {
		return cut(err)
	}
	size, kind := binary.LittleEndian.Uint32(header), binary.LittleEndian.Uint16(header[4:])
	if size > maxCommand {
		return fmt.Errorf("%w: a command of %d bytes", errStream, size)
	}
	if s.next, err = s.take(headerSize + int(size)); err != nil {
		return cut(err)
	}
	if err := s.check(kind, s.next[headerSize:]); err != nil {
		s.next = nil
		return err
	}
	s.end = kind == commandEnd
	return nil
}

// begin checks the stream's header together with the first command, which says what the stream is of.
func (s *checkedStream) begin() error {
	s.first = true
	header, err := s.take(len(streamMagic) + 4)
	if err != nil {
		return cut(err)
	}
	if !bytes.HasPrefix(header, []byte(streamMagic)) {
		return fmt.Errorf("%w: no btrfs send stream", errStream)
	}
	start := bytes.Clone(header)
	command, err := s.from.Peek(headerSize)
	if err != nil {
		return cut(err)
	}
	size, kind := binary.LittleEndian.Uint32(command), binary.LittleEndian.Uint16(command[4:])
	if size > maxCommand {
		return fmt.Errorf("%w: a command of %d bytes", errStream, size)
	}
	if command, err = s.take(headerSize + int(size)); err != nil {
		return cut(err)
	}
	if err := s.identify(kind, command[headerSize:]); err != nil {
		return err
	}
	s.next = append(start, command...)
	return nil
}

func (s *checkedStream) identify(kind uint16, body []byte) error {
	var name, id, base string
	for attr, value := range attributes(body) {
		switch attr {
		case attributePath:
			name = string(value)
		case attributeUUID:
			id = formatUUID(value)
		case attributeCloneUUID:
			base = formatUUID(value)
		}
	}
	if kind == commandSubvol && s.want.baseID == "" || kind == commandSnapshot && s.want.baseID != "" {
		if name == s.want.name && id == s.want.id && base == s.want.baseID {
			return nil
		}
	}
	return fmt.Errorf("%w: it is of %q (%s) as a difference to %q, not of %q (%s) to %q",
		errStream, name, id, base, s.want.name, s.want.id, s.want.baseID)
}

// check refuses what would be written outside the snapshot, whoever sends it.
func (s *checkedStream) check(kind uint16, body []byte) error {
	if kind == commandSubvol || kind == commandSnapshot {
		return fmt.Errorf("%w: a second snapshot in the stream", errStream)
	}
	for attr, value := range attributes(body) {
		switch attr {
		case attributePathLink:
			if kind == commandSymlink {
				continue // what a symbolic link says is only text
			}
		case attributePath, attributePathTo, attributeClonePath:
		default:
			continue
		}
		if name := string(value); path.IsAbs(name) || slices.Contains(strings.Split(name, "/"), "..") {
			return fmt.Errorf("%w: path %q", errStream, name)
		}
	}
	return nil
}

// attributes goes through a command's; data is last and, from version 2 of the format on, has no length.
func attributes(body []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(body) >= 4 {
			kind, size := binary.LittleEndian.Uint16(body), int(binary.LittleEndian.Uint16(body[2:]))
			if kind == attributeData {
				return
			}
			body = body[4:]
			if size > len(body) {
				return
			}
			if !yield(kind, body[:size]) {
				return
			}
			body = body[size:]
		}
	}
}

func formatUUID(value []byte) string {
	var u uuid
	copy(u[:], value)
	return u.String()
}

// cut is an end of the input where none belongs.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the stream broke off: %w", io.ErrUnexpectedEOF)
	}
	return err
}
