// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
)

// What tests from outside make streams of.
const (
	Subvolume, Snapshot, MakeFile, MakeDir, MakeNode, MakeFifo     = verbSubvolume, verbSnapshot, verbMakeFile, verbMakeDir, verbMakeNode, verbMakeFifo
	MakeSocket, Symlink, Rename, Link, Unlink, RemoveDir           = verbMakeSocket, verbSymlink, verbRename, verbLink, verbUnlink, verbRemoveDir
	SetAttribute, RemoveAttribute, Write, Clone, Truncate, SetMode = verbSetAttribute, verbRemoveAttribute, verbWrite, verbClone, verbTruncate, verbMode
	SetOwner, SetTimes, End                                        = verbOwner, verbTimes, verbEnd

	UUID, Transaction, Size, Mode, User, Group, Device = fieldUUID, fieldTransaction, fieldSize, fieldMode, fieldUser, fieldGroup, fieldDevice
	Modified, Accessed, AttributeName, AttributeValue  = fieldModified, fieldAccessed, fieldAttributeName, fieldAttributeValue
	Path, PathTo, PathLink, Offset, Data               = fieldPath, fieldPathTo, fieldPathLink, fieldOffset, fieldData
	CloneUUID, ClonePath, CloneOffset, CloneLength     = fieldCloneUUID, fieldClonePath, fieldCloneOffset, fieldCloneLength
)

// ErrStream is what a stream that is not as announced is refused with.
var ErrStream = errStream

type (
	// Verb is what a command does.
	Verb = verb
	// Field is one of a command's.
	Field = field
	// Fields are a command's, with values as Encoded takes them.
	Fields map[Field]any
	// Made is a send stream that was made by hand, with the right checksums.
	Made []byte
)

// NewMade begins a stream of a version.
func NewMade(version uint32) Made {
	return binary.LittleEndian.AppendUint32([]byte(streamMagic), version)
}

// Then adds a command.
func (m Made) Then(v Verb, fields Fields) Made {
	var body []byte
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		value := Encoded(fields[f])
		body = binary.LittleEndian.AppendUint16(body, uint16(f))
		body = binary.LittleEndian.AppendUint16(body, uint16(len(value)))
		body = append(body, value...)
	}
	return m.Raw(v, body)
}

// Raw adds a command with a body that may be none.
func (m Made) Raw(v Verb, body []byte) Made {
	command := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	command = binary.LittleEndian.AppendUint16(command, uint16(v))
	command = append(append(command, 0, 0, 0, 0), body...)
	// The kernel's crc32c begins at 0 and is not inverted.
	binary.LittleEndian.PutUint32(command[6:], ^crc32.Update(^uint32(0), crc32.MakeTable(crc32.Castagnoli), command))
	return slices.Concat(m, command)
}

// Encoded is a field's value: text and bytes as they are, a number as 8 bytes, and a time of two numbers.
func Encoded(value any) []byte {
	switch v := value.(type) {
	case string:
		return []byte(v)
	case []byte:
		return slices.Clone(v)
	case int:
		return binary.LittleEndian.AppendUint64(nil, uint64(v))
	case [2]int:
		return binary.LittleEndian.AppendUint32(Encoded(v[0]), uint32(v[1]))
	}
	panic("no value of a field")
}
