// SPDX-License-Identifier: Apache-2.0

package transfer_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/transfer"
)

func BenchmarkStream(b *testing.B) {
	d, way := serve(b, &transfer.Server{Receive: func(_ context.Context, _ cluster.NodeID, _ transfer.Header, r io.Reader) (transfer.Reply, error) {
		_, err := io.Copy(io.Discard, r)
		return transfer.Reply{}, err
	}})
	chunk := noise(64 << 10)
	b.SetBytes(int64(len(chunk)))
	s, err := d.Open(b.Context(), way.addr, beta, header(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := s.CloseSend(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkBareSocket(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a baseline
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			b.Error(err)
		}
		c.Close()
	}()
	c, err := net.Dial("tcp", l.Addr().String()) //nolint:noctx // a baseline
	if err != nil {
		b.Fatal(err)
	}
	chunk := noise(64 << 10)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if _, err := c.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-done
	l.Close()
}
