// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	handshakeTimeout = 10 * time.Second
	maxHandshakes    = 256 // at once; more wait in the kernel's queue
)

// Listen makes a listener whose Accept gives only connections (*tls.Conn) with a finished handshake. Those that are refused
// never reach the server: refused is told, with Explain's reason. An address is known without a certificate too.
func Listen(inner net.Listener, config *tls.Config, refused func(from net.Addr, err error)) net.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{
		Listener: inner,
		config:   config,
		refused:  refused,
		cancel:   cancel,
		ready:    make(chan *tls.Conn),
		failed:   make(chan error),
		room:     make(chan struct{}, maxHandshakes),
	}
	l.running.Go(func() { l.accept(ctx) })
	return l
}

type listener struct {
	net.Listener
	config  *tls.Config
	refused func(net.Addr, error)
	cancel  context.CancelFunc
	running sync.WaitGroup
	ready   chan *tls.Conn
	failed  chan error
	room    chan struct{}
}

// Accept waits for the next connection that was let in.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case err, ok := <-l.failed:
		if !ok {
			err = net.ErrClosed
		}
		return nil, err
	}
}

// Close ends Accept and all handshakes under way.
func (l *listener) Close() error {
	l.cancel()
	err := l.Listener.Close()
	l.running.Wait()
	return err
}

func (l *listener) accept(ctx context.Context) {
	defer close(l.failed)
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.failed <- err:
			case <-ctx.Done():
			}
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			continue
		}
		select {
		case l.room <- struct{}{}:
			l.running.Go(func() { l.handshake(ctx, conn) })
		case <-ctx.Done():
			l.drop(conn)
			return
		}
	}
}

func (l *listener) handshake(ctx context.Context, conn net.Conn) {
	defer func() { <-l.room }()
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	secure := tls.Server(conn, l.config)
	if err := secure.HandshakeContext(limited); err != nil {
		l.drop(conn)
		if ctx.Err() == nil {
			l.refused(conn.RemoteAddr(), Explain(err))
		}
		return
	}
	select {
	case l.ready <- secure:
	case <-ctx.Done():
		l.drop(conn)
	}
}

// drop closes a connection that nobody uses; there is nobody to tell that it failed.
func (l *listener) drop(conn net.Conn) { _ = conn.Close() } // as said
