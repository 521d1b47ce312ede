// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// ackEvery is how many bytes are taken in between two acknowledgements.
const ackEvery = 1 << 20

// incoming is a stream on its receiver's side. It outlives its connections.
type incoming struct {
	header    Header
	resumeFor time.Duration
	pipe      *io.PipeWriter
	cancel    context.CancelCauseFunc

	turn chan struct{} // held by the connection in use; its holder alone feeds the stream
	mu   sync.Mutex
	conn net.Conn
	idle *time.Timer // runs while there is no connection

	taken   atomic.Int64
	sum     hash.Hash
	ended   bool
	endedAt atomic.Pointer[time.Time]

	done    chan struct{}
	verdict verdict
}

// begin starts the receiver of a new stream.
func (s *Server) begin(from cluster.NodeID, h hello) *incoming {
	ctx, cancel := context.WithCancelCause(context.Background())
	r, w := io.Pipe()
	st := &incoming{
		header: h.Header, resumeFor: s.resumeFor(), pipe: w, cancel: cancel,
		turn: make(chan struct{}, 1), sum: newChecksum(), done: make(chan struct{}),
	}
	st.idle = time.AfterFunc(st.resumeFor, func() { st.cut(ErrCut) })
	s.running.Go(func() {
		source := &wholeReader{r: r}
		reply, err := s.Receive(ctx, from, h.Header, source)
		st.decide(reply, err, source.whole.Load(), context.Cause(ctx))
		r.CloseWithError(errOver) // it never fails
		cancel(nil)
		time.AfterFunc(st.resumeFor, func() { s.forget(streamKey{from, h.Stream}) })
	})
	return st
}

var errOver = errors.New("the receiver is done")

// wholeReader remembers whether its end was reached.
type wholeReader struct {
	r     io.Reader
	whole atomic.Bool
}

func (w *wholeReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err == io.EOF {
		w.whole.Store(true)
	}
	return n, err
}

// decide keeps the verdict.
func (st *incoming) decide(reply Reply, err error, whole bool, cause error) {
	defer close(st.done)
	if err == nil && !whole {
		err = fmt.Errorf("%w: the receiver ended before the stream", ErrCut)
	}
	if err != nil {
		st.verdict = verdict{Error: refusal(err, cause)}
		return
	}
	if at := st.endedAt.Load(); at != nil {
		reply.Took = cluster.Duration(max(0, time.Since(*at)))
	}
	st.verdict = verdict{Reply: reply}
}

func refusal(err, cause error) *Error {
	if cause != nil {
		err = cause // the receiver only saw that it was interrupted
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Code: e.Code, Message: err.Error()}
	}
	return &Error{Message: err.Error()}
}

// cut ends the stream for its receiver.
func (st *incoming) cut(err error) {
	st.pipe.CloseWithError(err) // it never fails
	st.cancel(err)
}

// attach makes conn the stream's only connection, once the earlier one has let go.
func (st *incoming) attach(conn net.Conn) error {
	st.mu.Lock()
	if st.conn != nil {
		st.conn.Close() // its user notices
	}
	st.mu.Unlock()
	select {
	case st.turn <- struct{}{}:
	case <-time.After(handshakeWithin):
		return errors.New("the stream's earlier connection is still in use")
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.conn = conn
	st.idle.Stop()
	return nil
}

func (st *incoming) detach() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.conn = nil
	st.idle.Reset(st.resumeFor)
	<-st.turn
}

// serve feeds the stream from one connection.
func (st *incoming) serve(conn net.Conn, frames *frameReader) error {
	if err := st.attach(conn); err != nil {
		return err // the sender tries again
	}
	defer st.detach()
	if err := writeFrame(conn, frameWelcome, st.taken.Load(), nil); err != nil {
		return err
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { st.answer(conn, quit) })
	err := st.feed(conn, frames)
	close(quit)
	wg.Wait()
	return err
}

// answer sends signs of life and, in the end, the verdict.
func (st *incoming) answer(conn net.Conn, quit <-chan struct{}) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-st.done:
			writeJSONFrame(conn, frameReply, st.verdict) //nolint:errcheck // a sender that did not get it asks again
			return
		case <-tick.C:
			if writeFrame(conn, frameAck, st.taken.Load(), nil) != nil {
				return // the reading side ends by the same cause
			}
		}
	}
}

// feed takes frames in until the connection ends. After the verdict it reads on, so
// that closing does not destroy the verdict on its way, until the sender hangs up.
func (st *incoming) feed(conn net.Conn, frames *frameReader) error {
	acked := st.taken.Load()
	for {
		if err := conn.SetReadDeadline(time.Now().Add(deadAfter)); err != nil {
			return err
		}
		fr, err := frames.read()
		if err != nil {
			return err
		}
		if st.over() {
			continue
		}
		if err := st.accept(fr); err != nil {
			return err
		}
		if taken := st.taken.Load(); taken-acked >= ackEvery {
			acked = taken
			if err := writeFrame(conn, frameAck, taken, nil); err != nil {
				return err
			}
		}
	}
}

func (st *incoming) over() bool {
	select {
	case <-st.done:
		return true
	default:
		return false
	}
}

func (st *incoming) accept(fr frame) error {
	switch fr.kind { // the others are wrong here
	case framePing:
		return nil
	case frameAbort:
		st.cut(ErrAborted)
		return nil
	case frameData:
		return st.data(fr)
	case frameEnd:
		return st.finish(fr)
	default:
		return fmt.Errorf("%w: frame of kind %d from a sender", ErrProtocol, fr.kind)
	}
}

func (st *incoming) data(fr frame) error {
	if st.ended || fr.offset != st.taken.Load() {
		st.cut(ErrCorrupt)
		return fmt.Errorf("%w: offset %d where %d is next", ErrProtocol, fr.offset, st.taken.Load())
	}
	st.sum.Write(fr.payload) // a hash never fails
	st.taken.Add(int64(len(fr.payload)))
	st.pipe.Write(fr.payload) //nolint:errcheck // it fails when the receiver has given up, whose verdict is then on its way
	return nil
}

func (st *incoming) finish(fr frame) error {
	if st.ended {
		return nil // sent again after a resumption
	}
	st.ended = true
	if fr.offset != st.taken.Load() || !bytes.Equal(fr.payload, st.sum.Sum(nil)) {
		st.cut(ErrCorrupt)
		return nil
	}
	now := time.Now()
	st.endedAt.Store(&now)
	return st.pipe.Close()
}
