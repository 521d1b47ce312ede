// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

// Receiver takes a stream in. r ends with io.EOF only when all that the sender counted
// has come unharmed; a stream cut short ends with another error.
type Receiver func(ctx context.Context, from cluster.NodeID, h Header, r io.Reader) (Reply, error)

// Server is the receiving end of all streams to this node.
type Server struct {
	Receive Receiver
	Log     *slog.Logger
	// ResumeFor is how long a stream without a connection waits for its sender; 45 s when zero.
	ResumeFor time.Duration

	mu      sync.Mutex
	streams map[streamKey]*incoming
	running sync.WaitGroup
	closed  bool
}

type streamKey struct {
	from cluster.NodeID
	id   string
}

// ServeConn serves one connection, on which ALPN was negotiated, until it or ctx ends.
// Streams outlive both; Close ends them.
func (s *Server) ServeConn(ctx context.Context, conn *tls.Conn) {
	defer conn.Close()                                      // whatever was to be said has been said
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // its reader ends
	defer stop()
	if err := s.serve(ctx, conn); err != nil {
		s.Log.Debug("stream connection ended", "from", conn.RemoteAddr().String(), "error", err)
	}
}

func (s *Server) serve(ctx context.Context, conn *tls.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(handshakeWithin)); err != nil {
		return err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	from, err := sender(conn.ConnectionState())
	if err != nil {
		return errors.Join(err, refuse(conn, "forbidden", err))
	}
	frames := &frameReader{r: conn}
	h, err := readHello(frames)
	if err != nil {
		return errors.Join(err, refuse(conn, "invalid", err))
	}
	st, err := s.find(from, h)
	if err != nil {
		return errors.Join(err, refuse(conn, "cut", err))
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return st.serve(conn, frames)
}

// sender is the node at the other end: only nodes send.
func sender(cs tls.ConnectionState) (cluster.NodeID, error) {
	id, err := pki.IdentityOf(cs)
	if err != nil {
		return "", err
	}
	if id.Kind != pki.KindNode {
		return "", fmt.Errorf("%s: %w: only nodes send data", id, pki.ErrWrongPeer)
	}
	return id.Node, nil
}

func readHello(frames *frameReader) (hello, error) {
	fr, err := frames.read()
	if err != nil {
		return hello{}, err
	}
	if fr.kind != frameHello {
		return hello{}, fmt.Errorf("%w: frame of kind %d in place of a hello", ErrProtocol, fr.kind)
	}
	var h hello
	if err := json.Unmarshal(fr.payload, &h); err != nil {
		return hello{}, fmt.Errorf("%w: hello: %w", ErrProtocol, err)
	}
	if h.Stream == "" || h.Header.Kind == "" {
		return hello{}, fmt.Errorf("%w: hello without a stream or a kind", ErrProtocol)
	}
	if h.Header.Encoding != "" {
		return hello{}, fmt.Errorf("%w: encoding %q is not known here", ErrProtocol, h.Header.Encoding)
	}
	return h, nil
}

func refuse(conn net.Conn, code string, err error) error {
	return writeJSONFrame(conn, frameReply, verdict{Error: &Error{Code: code, Message: err.Error()}})
}

// find returns the stream that a hello resumes, or begins a new one.
func (s *Server) find(from cluster.NodeID, h hello) (*incoming, error) {
	key := streamKey{from, h.Stream}
	if st, ok := s.lookup(key); ok {
		return st, nil
	}
	if h.Resume {
		return nil, fmt.Errorf("no such stream is waiting: %w", ErrCut)
	}
	if err := s.supersede(from, h.Header.about()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("this node is shutting down")
	}
	if st, ok := s.streams[key]; ok {
		return st, nil
	}
	if s.streams == nil {
		s.streams = map[streamKey]*incoming{}
	}
	st := s.begin(from, h)
	s.streams[key] = st
	return st, nil
}

func (s *Server) lookup(key streamKey) (*incoming, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.streams[key]
	return st, ok
}

// supersede ends streams about the same object and waits for their receivers: their
// sender has died or given up, or would not begin again.
func (s *Server) supersede(from cluster.NodeID, about string) error {
	s.mu.Lock()
	var old []*incoming
	for key, st := range s.streams {
		if key.from == from && st.header.about() == about {
			old = append(old, st)
		}
	}
	s.mu.Unlock()
	timeout := time.After(handshakeWithin)
	for _, st := range old {
		st.cut(ErrSuperseded)
		select {
		case <-st.done:
		case <-timeout:
			return fmt.Errorf("an earlier stream about the same %s does not end", st.header.Kind)
		}
	}
	return nil
}

func (s *Server) resumeFor() time.Duration {
	if s.ResumeFor > 0 {
		return s.ResumeFor
	}
	return defaultResumeFor
}

func (s *Server) forget(key streamKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, key)
}

// Close cuts every stream and waits for the receivers.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, st := range s.streams {
		st.cut(ErrCut)
	}
	s.mu.Unlock()
	s.running.Wait()
}
