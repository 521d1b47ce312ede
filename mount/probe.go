// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// Filesystem is what a device carries, as its first superblock says. Type is empty where none of those that Format makes
// was found; that does not mean that the device is empty.
type Filesystem struct {
	Type string // "ext4", "xfs" or "btrfs"
	UUID string
	Size int64 // bytes of the device that it uses
}

// probeLength is what Probe reads: up to the end of the superblock of btrfs.
const probeLength = 64<<10 + 4096

// Probe reads the superblock of a filesystem that is not mounted.
func Probe(device io.ReaderAt) (Filesystem, error) {
	head := make([]byte, probeLength)
	if n, err := device.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Filesystem{}, fmt.Errorf("read the superblock: %w", err)
	} else if n < len(head) {
		return Filesystem{}, nil // too small for any of them
	}
	ext, btrfs := head[1<<10:], head[64<<10:]
	switch {
	case bytes.Equal(ext[56:58], []byte{0x53, 0xef}):
		return ext4(ext), nil
	case bytes.HasPrefix(head, []byte("XFSB")):
		size := binary.BigEndian.Uint64(head[8:]) * uint64(binary.BigEndian.Uint32(head[4:]))
		return Filesystem{"xfs", identity(head[32:]), int64(size)}, nil
	case bytes.Equal(btrfs[64:72], []byte("_BHRfS_M")):
		return Filesystem{"btrfs", identity(btrfs[32:]), int64(binary.LittleEndian.Uint64(btrfs[112:]))}, nil
	}
	return Filesystem{}, nil
}

// ext4 reads struct ext4_super_block.
func ext4(super []byte) Filesystem {
	const has64Bit = 0x80
	blocks := uint64(binary.LittleEndian.Uint32(super[4:]))
	if binary.LittleEndian.Uint32(super[96:])&has64Bit != 0 {
		blocks |= uint64(binary.LittleEndian.Uint32(super[336:])) << 32
	}
	return Filesystem{"ext4", identity(super[104:]), int64(blocks << (10 + super[24]&7))}
}

func identity(raw []byte) string {
	return uuid.UUID(raw[:16]).String()
}
