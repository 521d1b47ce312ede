// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Stream is the sending end. Write it, then CloseSend; or Abort. It comes back by
// itself after a broken connection.
type Stream struct {
	window *window
	limit  *rate.Limiter
	hello  hello

	once    sync.Once
	done    chan struct{} // closed with verdict set, or with the window's error
	over    chan struct{} // closed when nothing of the stream runs any more
	verdict verdict
	heard   atomic.Pointer[time.Time]
}

// Write gives bytes to the stream. It waits while the receiver is behind by more
// than the window, and returns the verdict's error when the receiver has given up.
func (s *Stream) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		n := len(p)
		if s.limit != nil {
			n = min(n, max(1, s.limit.Burst()))
			if err := s.pace(n); err != nil {
				return done, err
			}
		}
		wrote, err := s.window.write(p[:n])
		done += wrote
		if err != nil {
			return done, err
		}
		p = p[n:]
	}
	return done, nil
}

// pace waits until n bytes may go.
func (s *Stream) pace(n int) error {
	wait := s.limit.ReserveN(time.Now(), n).Delay()
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.done:
		return s.outcome()
	}
}

// CloseSend ends the stream and waits for the receiver's verdict. After an error the
// stream is over too; whether the receiver took it is then unknown, unless the error is
// an *Error.
func (s *Stream) CloseSend(ctx context.Context) (Reply, error) {
	s.window.finish()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.Abort()
		return Reply{}, fmt.Errorf("wait for the receiver's verdict: %w", context.Cause(ctx))
	}
	<-s.over
	return s.verdict.Reply, s.outcome()
}

// Abort gives the stream up; the receiver is told where that is possible at once. It
// may be called at any time, also after CloseSend, and then does nothing.
func (s *Stream) Abort() {
	s.end(verdict{}, ErrAborted)
	<-s.over
}

// Acked is how many bytes the receiver has taken in.
func (s *Stream) Acked() int64 { return s.window.acked() }

// Silence is how long nothing has been heard of the receiver, which otherwise gives a
// sign of life every second.
func (s *Stream) Silence() time.Duration { return time.Since(*s.heard.Load()) }

func (s *Stream) hear() {
	now := time.Now()
	s.heard.Store(&now)
}

func (s *Stream) end(v verdict, err error) {
	s.once.Do(func() {
		if err == nil && v.Error != nil {
			err = v.Error
		}
		s.verdict = v
		if err != nil {
			s.window.fail(err)
		}
		close(s.done)
		s.window.wake()
	})
}

// outcome is the stream's error once done is closed.
func (s *Stream) outcome() error {
	s.window.mu.Lock()
	defer s.window.mu.Unlock()
	return s.window.err
}

func (s *Stream) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

type connector func(ctx context.Context) (net.Conn, int64, error)

// run keeps the stream on a connection until it is over.
func (s *Stream) run(ctx context.Context, conn net.Conn, again connector, retryFor time.Duration) {
	defer close(s.over)
	stop := context.AfterFunc(ctx, func() { s.end(verdict{}, context.Cause(ctx)) })
	defer stop()
	for {
		lost := s.use(conn)
		if s.ended() {
			return
		}
		if errors.Is(lost, ErrProtocol) {
			s.end(verdict{}, lost)
			return
		}
		var err error
		conn, err = s.reconnect(ctx, again, retryFor)
		if err != nil {
			s.end(verdict{}, fmt.Errorf("connection lost (%w) and not restored: %w", lost, err))
			return
		}
	}
}

// reconnect tries until the stream goes on, is over, or the time is up.
func (s *Stream) reconnect(ctx context.Context, again connector, retryFor time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	go func() {
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	pause := time.NewTimer(0)
	defer pause.Stop()
	var last error
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), last)
		}
		conn, offset, err := again(ctx)
		if r, ok := errors.AsType[*refused](err); ok {
			s.end(r.verdict, nil)
			return nil, err
		}
		if err != nil {
			last = err
			pause.Reset(retryPause)
			continue
		}
		if !s.window.rewind(offset) {
			return nil, errors.Join(fmt.Errorf("%w: receiver asks for offset %d", ErrProtocol, offset), closed(conn))
		}
		return conn, nil
	}
}

// use drives one connection until it is lost or the stream is over.
func (s *Stream) use(conn net.Conn) error {
	var lost atomic.Bool
	var wg sync.WaitGroup
	var readErr error
	quit := make(chan struct{})
	wg.Go(func() {
		readErr = s.listen(conn)
		lost.Store(true)
		conn.Close() // readErr says why it is closed
		s.window.wake()
	})
	wg.Go(func() { s.ping(conn, quit) })
	wg.Go(func() { s.release(conn, quit) })
	writeErr := s.feed(conn, func() bool { return lost.Load() || s.ended() })
	if writeErr != nil || s.ended() {
		s.farewell(conn, writeErr)
		conn.Close() // the connection is given up
	}
	close(quit)
	wg.Wait()
	if errors.Is(readErr, ErrProtocol) || writeErr == nil {
		return readErr
	}
	return writeErr
}

// release lets go of a write that hangs when the stream is over.
func (s *Stream) release(conn net.Conn, quit <-chan struct{}) {
	select {
	case <-s.done:
		conn.SetWriteDeadline(time.Now().Add(farewellWithin)) //nolint:errcheck // a closed connection lets go too
	case <-quit:
	}
}

// farewell tells the receiver of an abort, so that it need not wait for a resumption.
func (s *Stream) farewell(conn net.Conn, writeErr error) {
	if writeErr != nil || !s.ended() || s.outcome() == nil {
		return
	}
	writeFrame(conn, frameAbort, 0, nil) //nolint:errcheck // a courtesy: the receiver gives up by itself too
}

// feed sends what is in the window. It returns nil when stop is true.
func (s *Stream) feed(conn net.Conn, stop func() bool) error {
	buf := make([]byte, frameHead+maxPayload)
	for {
		offset, n, ended := s.window.take(buf[frameHead:], stop)
		switch {
		case n > 0:
			putHead(buf, frameData, offset, n)
			if _, err := conn.Write(buf[:frameHead+n]); err != nil {
				return err
			}
		case ended:
			total, sum := s.window.total()
			if err := writeFrame(conn, frameEnd, total, sum); err != nil {
				return err
			}
			s.window.await(stop)
			return nil
		default:
			return nil
		}
	}
}

// listen takes in what the receiver says, until the connection ends.
func (s *Stream) listen(conn net.Conn) error {
	frames := &frameReader{r: conn}
	for {
		if err := conn.SetReadDeadline(time.Now().Add(deadAfter)); err != nil {
			return err
		}
		fr, err := frames.read()
		if err != nil {
			return err
		}
		s.hear()
		switch fr.kind { // the others are wrong here
		case frameAck:
			if !s.window.acknowledge(fr.offset) {
				return fmt.Errorf("%w: acknowledgement of offset %d", ErrProtocol, fr.offset)
			}
		case frameReply:
			var v verdict
			if err := json.Unmarshal(fr.payload, &v); err != nil {
				return fmt.Errorf("%w: verdict: %w", ErrProtocol, err)
			}
			s.end(v, nil)
			return nil
		default:
			return fmt.Errorf("%w: frame of kind %d from a receiver", ErrProtocol, fr.kind)
		}
	}
}

func (s *Stream) ping(conn net.Conn, quit <-chan struct{}) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			if writeFrame(conn, framePing, 0, nil) != nil {
				return // the reader notices the same and says so
			}
		}
	}
}
