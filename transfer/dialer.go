// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/time/rate"

	"github.com/flocker-project/flocker/cluster"
)

// Dialer opens streams to other agents.
type Dialer struct {
	// TLS returns the client's side of a connection that accepts this peer alone.
	TLS func(peer cluster.NodeID) *tls.Config
	// RetryFor bounds how long a stream tries to come back after its connection broke; 30 s when zero.
	RetryFor time.Duration
	// DialNet connects; nil is TCP.
	DialNet func(ctx context.Context, network, address string) (net.Conn, error)
}

// Open connects to a peer and begins a stream, which lives until its verdict or the
// end of ctx. A limit, where given, is shared with other streams by its owner.
func (d *Dialer) Open(ctx context.Context, addr string, peer cluster.NodeID, h Header, limit *rate.Limiter) (*Stream, error) {
	s := &Stream{
		window: newWindow(),
		limit:  limit,
		done:   make(chan struct{}),
		over:   make(chan struct{}),
		hello:  hello{Stream: rand.Text(), Header: h},
	}
	conn, offset, err := d.connect(ctx, addr, peer, s.hello)
	if err != nil {
		return nil, fmt.Errorf("open a stream to node %s at %s: %w", peer, addr, err)
	}
	if !s.window.rewind(offset) {
		conn.Close() // the peer is not to be talked to any more
		return nil, fmt.Errorf("open a stream to node %s: %w: begins at %d", peer, ErrProtocol, offset)
	}
	s.hello.Resume = true
	s.hear()
	go s.run(ctx, conn, func(ctx context.Context) (net.Conn, int64, error) {
		return d.connect(ctx, addr, peer, s.hello)
	}, d.retryFor())
	return s, nil
}

func (d *Dialer) retryFor() time.Duration {
	if d.RetryFor > 0 {
		return d.RetryFor
	}
	return defaultRetryFor
}

// refused is a verdict that came in place of a welcome.
type refused struct{ verdict }

func (r *refused) Error() string {
	if r.verdict.Error != nil {
		return r.verdict.Error.Message
	}
	return "already over"
}

func (r *refused) Unwrap() error {
	if r.verdict.Error != nil {
		return r.verdict.Error
	}
	return nil
}

// connect makes one connection for a stream and learns where it goes on.
func (d *Dialer) connect(ctx context.Context, addr string, peer cluster.NodeID, h hello) (net.Conn, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	conn, err := d.dial(ctx, addr, peer)
	if err != nil {
		return nil, 0, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // what was under way fails, and says so
	offset, err := greet(conn, h)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, 0, errors.Join(err, closed(conn))
	}
	return conn, offset, nil
}

func closed(conn net.Conn) error {
	if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (d *Dialer) dial(ctx context.Context, addr string, peer cluster.NodeID) (net.Conn, error) {
	config := d.TLS(peer).Clone()
	config.NextProtos = []string{ALPN}
	dial := d.DialNet
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: pingEvery}).DialContext
	}
	raw, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, closed(raw))
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != ALPN {
		return nil, errors.Join(fmt.Errorf("%w: peer speaks %q", ErrProtocol, got), closed(conn))
	}
	return conn, nil
}

// greet says which stream this is; the answer is where to go on, or the verdict.
func greet(conn net.Conn, h hello) (int64, error) {
	if err := writeJSONFrame(conn, frameHello, h); err != nil {
		return 0, err
	}
	fr, err := (&frameReader{r: conn}).read()
	if err != nil {
		return 0, err
	}
	switch fr.kind { // the others are wrong here
	case frameWelcome:
		return fr.offset, nil
	case frameReply:
		var v verdict
		if err := json.Unmarshal(fr.payload, &v); err != nil {
			return 0, fmt.Errorf("%w: verdict: %w", ErrProtocol, err)
		}
		return 0, &refused{v}
	default:
		return 0, fmt.Errorf("%w: frame of kind %d in place of a welcome", ErrProtocol, fr.kind)
	}
}
