// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flocker-project/flocker/pki"
)

// Whoever connects and says nothing must not keep others out.
func TestASilentClientBlocksNobody(t *testing.T) {
	w := newWorld(t)
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := pki.Listen(inner, pki.ServerTLS(w.control(t), pki.ServerOptions{}), func(net.Addr, error) {})
	mute, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	accepted := make(chan net.Conn)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	client := tls.Dialer{Config: pki.ClientTLS(w.node(t, node1), pki.ExpectControl())}
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second) // less than a handshake may take
	defer cancel()
	conn, err := client.DialContext(soon, "tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	(<-accepted).Close()
	conn.Close()
	if err := l.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if _, err := mute.Read(make([]byte, 1)); err == nil {
		t.Error("Close left a connection open")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v; want %v", err, net.ErrClosed)
	}
}

func TestHTTP2GoesThroughTheListener(t *testing.T) {
	w := newWorld(t)
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, err := pki.IdentityOf(*r.TLS)
		if _, failed := io.WriteString(rw, r.Proto+" "+id.String()); err != nil || failed != nil {
			t.Error(err, failed)
		}
	})}
	done := make(chan error)
	go func() {
		done <- server.Serve(pki.Listen(inner, pki.ServerTLS(w.control(t), pki.ServerOptions{}), func(_ net.Addr, err error) { t.Error(err) }))
	}()
	transport := &http.Transport{TLSClientConfig: pki.ClientTLS(w.node(t, node1), pki.ExpectControl()), ForceAttemptHTTP2: true}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+inner.Addr().String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if got, want := string(text), "HTTP/2.0 node-"+string(node1); got != want || err != nil {
		t.Errorf("answer %q, %v; want %q", got, err, want)
	}
	answer.Body.Close()
	transport.CloseIdleConnections()
	server.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestRefusalsAreLoggedOnce(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	var log strings.Builder
	refusals := pki.NewRefusals(slog.New(slog.NewTextHandler(&log, nil)))
	server := pki.ServerTLS(w.control(t), pki.ServerOptions{})
	for _, cert := range []tls.Certificate{w.forge(t, "user-late", expired), foreign.forge(t, "user-eve", nil)} {
		for port := range 3 {
			got := handshake(t, server, naive(cert))
			refusals.Handshake(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: port}, got.server)
		}
	}
	node := pki.Identity{Kind: pki.KindNode, Node: node1}
	for range 3 {
		refusals.Request(node, errors.New("reports for another"))
	}
	if got := strings.Count(log.String(), "\n"); got != 3 {
		t.Errorf("%d lines; want one for each of three refusals:\n%s", got, log.String())
	}
	for _, want := range []string{"user-late", "user-eve", "node-" + string(node1), "10.0.0.9"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not named in:\n%s", want, log.String())
		}
	}
}
