// SPDX-License-Identifier: Apache-2.0

package zfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/flocker-project/flocker/cluster"
)

// A stream is a row of records of 312 bytes, some with a payload. It is written in the byte order of the machine; ZFS reads both, but
// here only that of every machine that Flocker runs on is taken.
const (
	recordSize = 312
	beginType  = 0
	endType    = 5
	beginMagic = 0x2f5bacbac
	substream  = 1 // the kind of stream that is of one snapshot
	cloneFlag  = 1 // its base is in another filesystem
)

// errStream says that what arrived is no whole stream, or not the one announced.
var errStream = errors.New("invalid stream")

// begin is the first record of a stream.
type begin struct {
	payload    uint32
	clone      bool
	guid, base uint64
	name       string // the snapshot's, on the node that sends
}

func parseBegin(record []byte) (begin, error) {
	order := binary.LittleEndian
	if len(record) != recordSize || order.Uint32(record) != beginType || order.Uint64(record[8:]) != beginMagic {
		return begin{}, fmt.Errorf("%w: it does not begin as one", errStream)
	}
	if kind := order.Uint64(record[16:]) & 3; kind != substream {
		return begin{}, fmt.Errorf("%w: it is of kind %d, not of one snapshot", errStream, kind)
	}
	name, _, ended := bytes.Cut(record[56:], []byte{0})
	if !ended {
		return begin{}, fmt.Errorf("%w: its name does not end", errStream)
	}
	return begin{
		payload: order.Uint32(record[4:]),
		clone:   order.Uint32(record[36:])&cloneFlag != 0,
		guid:    order.Uint64(record[40:]),
		base:    order.Uint64(record[48:]),
		name:    string(name),
	}, nil
}

func isEnd(record []byte) bool {
	return len(record) == recordSize && binary.LittleEndian.Uint32(record) == endType
}

// expected is what a stream has to be.
type expected struct {
	dataset cluster.DatasetID
	name    string
	id      string
	base    uint64 // 0 for a whole snapshot
}

func (e expected) check(b begin) error {
	_, last, _ := cutLast(b.name, "/")
	filesystem, of, _ := strings.Cut(last, "@")
	parts := strings.Split(filesystem, ".")
	switch {
	case len(parts) < 3 || parts[2] != string(e.dataset):
		return fmt.Errorf("%w: it is of %q, not of dataset %s", errStream, b.name, e.dataset)
	case of != e.name:
		return fmt.Errorf("%w: it is of snapshot %q, not %s", errStream, of, e.name)
	case (snapshot{guid: b.guid}).id() != e.id:
		return fmt.Errorf("%w: it is of content %016x, not %s", errStream, b.guid, e.id)
	case b.base != e.base:
		return fmt.Errorf("%w: it is a difference to %016x, not %016x", errStream, b.base, e.base)
	case b.clone:
		return fmt.Errorf("%w: its base is another filesystem's", errStream)
	}
	return nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// copyBody copies what follows the begin record, and holds back the last record, with the checksum of all, until r has ended:
// without that record nothing is accepted.
func copyBody(w io.Writer, r io.Reader) error {
	buffer := make([]byte, 256<<10)
	held := 0
	for {
		n, err := r.Read(buffer[held:])
		held += n
		if pass := held - recordSize; pass > 0 {
			if _, err := w.Write(buffer[:pass]); err != nil {
				return err
			}
			held = copy(buffer, buffer[pass:held])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if !isEnd(buffer[:held]) {
		return fmt.Errorf("%w: it does not end as one", errStream)
	}
	_, err := w.Write(buffer[:held])
	return err
}
