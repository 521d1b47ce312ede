// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A frame is its kind (1 byte), a stream offset (8 bytes), the payload's length (4 bytes) and the payload.
const (
	frameHead  = 13
	maxPayload = 64 << 10
)

type frameKind byte

const (
	frameHello   frameKind = 1 // sender: hello, JSON
	frameWelcome frameKind = 2 // receiver: go on from offset
	frameData    frameKind = 3 // sender: bytes from offset on
	frameEnd     frameKind = 4 // sender: the stream is offset bytes long; payload is the checksum
	frameAbort   frameKind = 5 // sender: the stream is given up
	frameAck     frameKind = 6 // receiver: everything before offset is taken in; also a sign of life
	frameReply   frameKind = 7 // receiver: the verdict, JSON
	framePing    frameKind = 8 // sender: a sign of life
)

// limit is the longest payload a kind may have.
func (k frameKind) limit() (int, bool) {
	switch k {
	case frameData:
		return maxPayload, true
	case frameHello, frameReply:
		return 64 << 10, true
	case frameEnd:
		return checksumSize, true
	case frameWelcome, frameAbort, frameAck, framePing:
		return 0, true
	}
	return 0, false
}

// hello opens or resumes a stream.
type hello struct {
	Stream string `json:"stream"` // chosen by the sender, random
	Resume bool   `json:"resume,omitempty"`
	Header Header `json:"header"`
}

// verdict is a stream's end as the receiver tells it.
type verdict struct {
	Reply Reply  `json:"reply"`
	Error *Error `json:"error,omitempty"`
}

// putHead writes a frame's head into b, which has room for it.
func putHead(b []byte, kind frameKind, offset int64, length int) {
	b[0] = byte(kind)
	binary.BigEndian.PutUint64(b[1:], uint64(offset))
	binary.BigEndian.PutUint32(b[9:], uint32(length))
}

func writeFrame(w io.Writer, kind frameKind, offset int64, payload []byte) error {
	b := make([]byte, frameHead+len(payload))
	putHead(b, kind, offset, len(payload))
	copy(b[frameHead:], payload)
	_, err := w.Write(b)
	return err
}

func writeJSONFrame(w io.Writer, kind frameKind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	if most, _ := kind.limit(); len(b) > most {
		return fmt.Errorf("%w: frame of %d bytes", ErrProtocol, len(b))
	}
	return writeFrame(w, kind, 0, b)
}

type frame struct {
	kind    frameKind
	offset  int64
	payload []byte // valid until the next read
}

// frameReader reads frames into one buffer that grows to the largest one seen.
type frameReader struct {
	r   io.Reader
	buf []byte
}

func (f *frameReader) read() (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return frame{}, err
	}
	fr := frame{kind: frameKind(head[0]), offset: int64(binary.BigEndian.Uint64(head[1:]))}
	length := int(binary.BigEndian.Uint32(head[9:]))
	most, known := fr.kind.limit()
	if !known || length > most || fr.offset < 0 {
		return frame{}, fmt.Errorf("%w: frame of kind %d, offset %d, length %d", ErrProtocol, fr.kind, fr.offset, length)
	}
	if cap(f.buf) < length {
		f.buf = make([]byte, length)
	}
	fr.payload = f.buf[:length]
	if _, err := io.ReadFull(f.r, fr.payload); err != nil {
		return frame{}, unexpected(err)
	}
	return fr, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
