// SPDX-License-Identifier: Apache-2.0

// Package transfer carries snapshots and images between agents: one TLS connection
// for each stream, which outlives the connection, is verified at its end, and is
// answered by its receiver.
package transfer

import (
	"errors"
	"fmt"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// ALPN tells transfers from the HTTP API on the agents' common listener.
const ALPN = "flocker-transfer/1"

// Kind says what a stream carries.
type Kind string

// The kinds of streams.
const (
	KindSnapshot Kind = "snapshot"
	KindImage    Kind = "image"
)

// Header says what a stream carries and why.
type Header struct {
	Kind    Kind              `json:"kind"`
	Move    cluster.MoveID    `json:"move,omitempty"`
	Attempt int               `json:"attempt,omitempty"`
	Dataset cluster.DatasetID `json:"dataset,omitempty"`
	// Snapshot is what is sent. Its ID is empty in a stream that was opened before the snapshot was taken.
	Snapshot cluster.Snapshot `json:"snapshot,omitzero"`
	Base     string           `json:"base,omitempty"`
	// BaseID identifies the base's content: a base of that name with other content is refused.
	BaseID string `json:"base_id,omitempty"`
	// Rest is the token of the partial that the stream completes.
	Rest  string `json:"rest,omitempty"`
	Image string `json:"image,omitempty"`
	// Encoding is how the bytes are packed on the way: empty is as they are. No other is known to this version.
	Encoding string `json:"encoding,omitempty"`
}

// about names a stream's object: a later stream about the same supersedes one that hangs.
func (h Header) about() string {
	return fmt.Sprintf("%s %s %s", h.Kind, h.Dataset, h.Image)
}

// Reply is the receiver's verdict on a whole, verified stream.
type Reply struct {
	Snapshot cluster.Snapshot `json:"snapshot,omitzero"` // as it is there now
	Took     cluster.Duration `json:"took,omitempty"`    // from the stream's end to the verdict
}

// Sentinels of streams.
var (
	ErrAborted    = errors.New("stream aborted by its sender")
	ErrCut        = errors.New("stream cut short")
	ErrSuperseded = errors.New("stream superseded by a later one")
	ErrCorrupt    = errors.New("stream does not have the checksum its sender counted")
	ErrProtocol   = errors.New("transfer protocol violated")
)

// Error is a receiver's refusal as it crosses the wire. Code is the receiver's word
// for what programs tell apart.
type Error struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Times of the protocol. A side that hears nothing for deadAfter takes the connection for lost.
const (
	pingEvery        = time.Second
	deadAfter        = 5 * time.Second
	farewellWithin   = time.Second
	handshakeWithin  = 10 * time.Second
	defaultRetryFor  = 30 * time.Second
	defaultResumeFor = 45 * time.Second
	retryPause       = 100 * time.Millisecond
)
