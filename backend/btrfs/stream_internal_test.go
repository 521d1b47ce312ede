// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

// sample is a stream as the kernel makes them.
func sample() Made {
	id := bytes.Repeat([]byte{7}, 16)
	return NewMade(1).
		Then(Snapshot, Fields{Path: "e0000000001-s0000000001", UUID: id, Transaction: 9, CloneUUID: id, fieldCloneTransaction: 8}).
		Then(MakeFile, Fields{Path: "o257-6-0", fieldInode: 257}).
		Then(Rename, Fields{Path: "o257-6-0", PathTo: "data/file"}).
		Then(Write, Fields{Path: "data/file", Offset: 0, Data: "text"}).
		Then(Clone, Fields{Path: "data/file", Offset: 4096, CloneUUID: id, ClonePath: "data/other", CloneOffset: 0, CloneLength: 4096}).
		Then(SetMode, Fields{Path: "data/file", Mode: 0o644}).
		Then(SetTimes, Fields{Path: "data/file", Accessed: [2]int{1, 2}, Modified: [2]int{3, 4}, fieldChanged: [2]int{5, 6}}).
		Then(End, nil)
}

// readAll reads every command with all its fields, and says how many there were.
func readAll(r io.Reader) (count int, err error) {
	stream := readCommands(r)
	for {
		c, err := stream.next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		for f := fieldUUID; f < fieldEnd; f++ {
			switch {
			case f == fieldUUID, f == fieldCloneUUID:
				c.uuid(f)
			case f >= fieldChanged && f <= fieldCreated:
				c.time(f)
			case f == fieldPath, f == fieldPathTo, f == fieldPathLink, f == fieldClonePath:
				c.path(f)
			default:
				c.number(f)
				c.bytes(f)
			}
		}
		count++
	}
}

func TestAWholeStreamHasAllItsCommands(t *testing.T) {
	for _, r := range []io.Reader{bytes.NewReader(sample()), iotest.OneByteReader(bytes.NewReader(sample())), iotest.DataErrReader(bytes.NewReader(sample()))} {
		if count, err := readAll(r); count != 8 || err != nil {
			t.Errorf("read %d commands, %v; want 8", count, err)
		}
	}
}

func TestAnyFlippedBitIsNoticed(t *testing.T) {
	whole := sample()
	for i := range whole {
		for bit := range 8 {
			damaged := slices.Clone(whole)
			damaged[i] ^= 1 << bit
			if count, err := readAll(bytes.NewReader(damaged)); err == nil {
				t.Errorf("bit %d of byte %d flipped: %d commands and no error", bit, i, count)
			}
		}
	}
}

func TestAnyCutIsNoticed(t *testing.T) {
	whole := sample()
	for n := range whole {
		if _, err := readAll(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes = %v; want %v", n, len(whole), err, io.ErrUnexpectedEOF)
		}
	}
}

// FuzzCommands checks that nothing that is read makes the reader fail otherwise than with an error, take more memory
// than a command may have, or answer what was not sent.
func FuzzCommands(f *testing.F) {
	whole := sample()
	f.Add([]byte(whole))
	f.Add([]byte(whole[:len(whole)-10]))
	f.Add([]byte(NewMade(2)))
	f.Add([]byte(NewMade(1).Raw(Write, []byte{19, 0, 255, 255, 'x'})))
	f.Add([]byte(NewMade(1).Raw(Write, make([]byte, maxCommand))))
	f.Add([]byte(NewMade(1).Raw(Write, make([]byte, maxCommand+1))))
	f.Fuzz(func(t *testing.T, data []byte) {
		count, err := readAll(bytes.NewReader(data))
		if err == nil && !bytes.HasPrefix(data, NewMade(1)) {
			t.Errorf("%d commands of what is no stream", count)
		}
		repaired(t, data)
	})
}

// repaired gives data as a command's body the right checksum, so that it gets past it.
func repaired(t *testing.T, data []byte) {
	t.Helper()
	data = data[:min(len(data), maxCommand)]
	stream := readCommands(bytes.NewReader(NewMade(1).Raw(Write, data).Then(End, nil)))
	c, err := stream.next()
	if len(stream.buf) > headerSize+maxCommand {
		t.Errorf("%d bytes kept of a command", len(stream.buf))
	}
	if err != nil {
		if !errors.Is(err, errStream) {
			t.Errorf("next = %v; want %v", err, errStream)
		}
		return
	}
	var again []byte
	for f := range c.fields {
		again = append(again, c.fields[f]...)
		if cap(c.fields[f]) != len(c.fields[f]) {
			t.Errorf("field %d reaches into the next one", f)
		}
	}
	if len(again) > len(data) {
		t.Errorf("%d bytes of fields in a command of %d", len(again), len(data))
	}
	if end, err := stream.next(); err != nil || end.verb != verbEnd {
		t.Errorf("next = %+v, %v; want the end", end, err)
	}
	if _, err := stream.next(); !errors.Is(err, io.EOF) {
		t.Errorf("next = %v; want %v", err, io.EOF)
	}
}
