// SPDX-License-Identifier: Apache-2.0

package transfer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
	"github.com/flocker-project/flocker/transfer"
)

const (
	alpha cluster.NodeID = "11111111-1111-4111-8111-111111111111"
	beta  cluster.NodeID = "22222222-2222-4222-8222-222222222222"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority signs all that the tests of this package use.
func authority(t testing.TB) *pki.Authority {
	t.Helper()
	ca, err := pki.CreateAuthority("transfer test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func credentials(t testing.TB, ca *pki.Authority, id cluster.NodeID) *pki.Credentials {
	t.Helper()
	issued, err := ca.IssueNode(id)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.NewCredentials(ca.CertificatePEM(), issued)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// link is a way from alpha to beta that a test can cut.
type link struct {
	addr string

	mu    sync.Mutex
	conns []net.Conn
	down  bool
	// budget, where positive, is how many bytes each connection carries before it breaks.
	budget int64
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	down, budget := l.down, l.budget
	l.mu.Unlock()
	if down {
		return nil, errors.New("link is down")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if budget > 0 {
		conn = &fragile{Conn: conn, left: budget}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
	return conn, nil
}

// cut breaks every connection; with down, new ones fail until it is called with false.
func (l *link) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

// fragile breaks after a number of written bytes, in the middle of a write.
type fragile struct {
	net.Conn
	left int64
}

func (f *fragile) Write(p []byte) (int, error) {
	if int64(len(p)) > f.left {
		n, _ := f.Conn.Write(p[:f.left])
		f.Close()
		return n, errors.New("link broke")
	}
	f.left -= int64(len(p))
	return f.Conn.Write(p)
}

// serve runs a server for beta and returns a dialer for alpha.
func serve(t testing.TB, server *transfer.Server) (*transfer.Dialer, *link) {
	t.Helper()
	ca := authority(t)
	config := pki.ServerTLS(credentials(t, ca, beta), pki.ServerOptions{NextProtos: []string{transfer.ALPN}})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	if server.Log == nil {
		server.Log = slog.New(slog.DiscardHandler)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { server.ServeConn(context.WithoutCancel(t.Context()), conn.(*tls.Conn)) })
		}
	})
	way := &link{addr: listener.Addr().String()}
	t.Cleanup(func() {
		listener.Close()
		way.cut(true)
		server.Close()
		serving.Wait()
	})
	mine := credentials(t, ca, alpha)
	return &transfer.Dialer{
		TLS:     func(peer cluster.NodeID) *tls.Config { return pki.ClientTLS(mine, pki.ExpectNode(peer)) },
		DialNet: way.dial,
	}, way
}
