// SPDX-License-Identifier: Apache-2.0

package block

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// mark says on a device that it is being formatted, for which dataset and how, or made the dataset's from a clone of another. It lies behind the filesystem and fits into
// one sector, which devices write whole or not at all.
type mark struct {
	dataset    cluster.DatasetID // empty: there is no mark
	filesystem string
	epoch      cluster.Epoch
	root       cluster.Root
	clone      bool
}

const (
	usualMode  = "usual" // in place of no mode
	markMagic  = "FLOCKER-FORMATTING"
	cloneMagic = "FLOCKER-CLONING"
	markLength = 512
	markBlock  = 4096 // some devices write no less at once
)

func (m mark) magic() string {
	if m.clone {
		return cloneMagic
	}
	return markMagic
}

func (m mark) text() string {
	said := fmt.Sprintf("%s %s %s %d %d %d %s", m.magic(), m.dataset, m.filesystem, m.epoch, m.root.UID, m.root.GID, cmp.Or(m.root.Mode, usualMode))
	return fmt.Sprintf("%s %x\n", said, sha256.Sum256([]byte(said)))
}

// readMark reads the mark at an offset. What is damaged is no mark.
func readMark(f *os.File, at int64) (mark, error) {
	data := make([]byte, markLength)
	if _, err := f.ReadAt(data, at); err != nil {
		return mark{}, fmt.Errorf("read the end of %s: %w", f.Name(), err)
	}
	text := string(bytes.TrimRight(data, "\x00"))
	m := mark{clone: strings.HasPrefix(text, cloneMagic+" ")}
	if !strings.HasPrefix(text, m.magic()+" ") {
		return mark{}, nil
	}
	_, err := fmt.Sscanf(text, m.magic()+" %s %s %d %d %d %s", &m.dataset, &m.filesystem, &m.epoch, &m.root.UID, &m.root.GID, &m.root.Mode)
	if m.root.Mode == usualMode {
		m.root.Mode = ""
	}
	if err != nil || m.text() != text {
		return mark{}, nil //nolint:nilerr // it is somebody else's, or nobody's
	}
	return m, nil
}

func (m mark) write(f *os.File, at int64) error {
	return writeTail(f, []byte(m.text()), at)
}

func erase(f *os.File, at int64) error { return writeTail(f, nil, at) }

// writeTail returns once the device has it.
func writeTail(f *os.File, data []byte, at int64) error {
	block := make([]byte, markBlock)
	copy(block, data)
	if _, err := f.WriteAt(block, at); err != nil {
		return fmt.Errorf("mark %s: %w", f.Name(), err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush the mark of %s: %w", f.Name(), err)
	}
	return nil
}
