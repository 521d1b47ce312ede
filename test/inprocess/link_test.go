// SPDX-License-Identifier: Apache-2.0

package inprocess_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// state is how a link behaves.
type state int

const (
	up     state = iota
	broken       // connections break and new ones are closed at once
	silent       // nothing passes and nobody is told
)

// link leads to the agent of a node at one address for the whole test, whichever process listens behind it.
type link struct {
	listener net.Listener

	mu      sync.Mutex
	behind  string // where the process listens; empty while there is none
	state   state
	changed chan struct{} // closed at each change of state
	conns   map[net.Conn]bool
	bytes   int64 // towards the agent
	running sync.WaitGroup
}

func newLink(t *testing.T) *link {
	t.Helper()
	l := &link{listener: listen(t, ""), changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	l.running.Go(l.accept)
	t.Cleanup(func() {
		l.listener.Close()
		l.set(broken)
		l.running.Wait()
	})
	return l
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (l *link) address() string { return l.listener.Addr().String() }

// leadTo makes a new process the one behind; connections to the former are gone with it.
func (l *link) leadTo(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind = addr
	l.drop()
}

// set changes the link; broken ends what is there.
func (l *link) set(s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	if s == broken {
		l.drop()
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) drop() {
	for c := range l.conns {
		c.Close()
	}
	clear(l.conns)
}

func (l *link) passed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.running.Go(func() { l.join(conn) })
	}
}

func (l *link) join(conn net.Conn) {
	defer conn.Close()
	l.mu.Lock()
	behind := l.behind
	if l.state == broken {
		behind = ""
	}
	l.mu.Unlock()
	if behind == "" {
		return
	}
	var d net.Dialer
	inner, err := d.DialContext(context.Background(), "tcp", behind)
	if err != nil {
		return // nobody listens there any more
	}
	defer inner.Close()
	l.mu.Lock()
	l.conns[conn], l.conns[inner] = true, true
	l.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range []struct {
		from, to net.Conn
		counted  bool
	}{{conn, inner, true}, {inner, conn, false}} {
		both.Go(func() {
			err := l.carry(way.from, way.to, way.counted)
			if err != nil && !errors.Is(err, io.EOF) {
				way.from.Close()
			}
			way.to.Close()
		})
	}
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	delete(l.conns, inner)
}

// carry takes bytes one way, and keeps them back while the link is silent.
func (l *link) carry(from, to net.Conn, counted bool) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		l.wait(counted, n)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

func (l *link) wait(counted bool, n int) {
	for {
		l.mu.Lock()
		s, changed := l.state, l.changed
		if counted && s == up {
			l.bytes += int64(n)
		}
		l.mu.Unlock()
		if s != silent {
			return
		}
		<-changed
	}
}
