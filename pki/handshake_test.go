// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/flocker-project/flocker/pki"
)

// outcome is what both ends of one connection learned.
type outcome struct {
	seen           pki.Identity // by the server
	server, client error
}

// handshake connects over TCP.
func handshake(t *testing.T, server, client *tls.Config) (o outcome) {
	t.Helper()
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	judged := make(chan error, 1)
	l := pki.Listen(inner, server, func(_ net.Addr, err error) { judged <- err })
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return // closed, the connection having been refused
		}
		defer conn.Close()
		seen, err := pki.IdentityOf(conn.(*tls.Conn).ConnectionState())
		o.seen = seen
		judged <- err
	}()
	conn, err := (&tls.Dialer{Config: client}).DialContext(t.Context(), "tcp", inner.Addr().String())
	if err == nil {
		_, err = io.ReadAll(conn) // in TLS 1.3 the client hears with its first read that its certificate is refused
		conn.Close()
	}
	o.client = err
	o.server = <-judged
	return o
}

// naive is a client that takes any server, and shows its certificate even to one that says it wants none like it.
func naive(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			for _, cert := range certs {
				return &cert, nil
			}
			return &tls.Certificate{}, nil
		},
	}
}

func TestWhoMayConnect(t *testing.T) {
	w := newWorld(t)
	control, node := w.control(t), w.node(t, node2)
	peers := []pki.Kind{pki.KindNode, pki.KindControl}
	for _, tt := range []struct {
		name   string
		server *pki.Credentials
		kinds  []pki.Kind
		client *pki.Credentials
		expect pki.Expect
		want   pki.Identity
	}{
		{"user", control, nil, w.user(t, "alice", pki.RoleOperate), pki.ExpectControl(), pki.Identity{Kind: pki.KindUser, User: "alice", Role: pki.RoleOperate}},
		{"plug-in", control, nil, w.user(t, "plugin", ""), pki.ExpectControl(), pki.Identity{Kind: pki.KindPlugin, User: "plugin"}},
		{"agent", control, []pki.Kind{pki.KindNode}, w.node(t, node1), pki.ExpectControl(), pki.Identity{Kind: pki.KindNode, Node: node1}},
		{"peer", node, peers, w.node(t, node1), pki.ExpectNode(node2), pki.Identity{Kind: pki.KindNode, Node: node1}},
		{"control as a client", node, peers, control, pki.ExpectNode(node2), pki.Identity{Kind: pki.KindControl}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handshake(t, pki.ServerTLS(tt.server, pki.ServerOptions{Kinds: tt.kinds}), pki.ClientTLS(tt.client, tt.expect))
			if got.server != nil || got.client != nil {
				t.Fatalf("server: %v; client: %v; want both to accept", got.server, got.client)
			}
			tt.want.Cluster, tt.want.Serial = w.Cluster(), tt.client.Identity().Serial
			if got.seen != tt.want {
				t.Errorf("server saw %+v; want %+v", got.seen, tt.want)
			}
		})
	}
}

func TestServerRefuses(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	control := w.control(t)
	revoked := w.forge(t, "node-"+string(node1), func(c *x509.Certificate) { c.SerialNumber.SetUint64(0xbad) })
	control.SetRevoked(func(serial string) bool { return serial == "bad" })
	serverOnly := func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }
	node := "node-" + string(node1)
	for _, tt := range []struct {
		name  string
		certs []tls.Certificate
		want  error
	}{
		{"no certificate", nil, nil}, // refused by the handshake itself
		{"foreign authority", []tls.Certificate{foreign.forge(t, node, nil)}, pki.ErrForeign},
		{"foreign authority that copies the cluster's UUID", []tls.Certificate{foreign.forge(t, node, func(c *x509.Certificate) {
			c.Subject.OrganizationalUnit = []string{w.Cluster()}
		})}, pki.ErrForeign},
		{"expired", []tls.Certificate{w.forge(t, node, expired)}, pki.ErrExpired},
		{"not yet valid", []tls.Certificate{w.forge(t, node, early)}, pki.ErrExpired},
		{"another cluster's UUID", []tls.Certificate{w.forge(t, node, otherUnit)}, pki.ErrWrongCluster},
		{"no cluster's UUID", []tls.Certificate{w.forge(t, node, noUnit)}, pki.ErrWrongCluster},
		{"revoked", []tls.Certificate{revoked}, pki.ErrRevoked},
		{"only for servers", []tls.Certificate{w.forge(t, node, serverOnly)}, pki.ErrWrongPeer},
		{"wrong kind", []tls.Certificate{w.forge(t, "user-alice", nil)}, pki.ErrWrongPeer},
		{"no kind", []tls.Certificate{w.forge(t, "alice", nil)}, pki.ErrBadIdentity},
		{"node without UUID", []tls.Certificate{w.forge(t, "node-one", nil)}, pki.ErrBadIdentity},
		{"node with another spelling of its UUID", []tls.Certificate{w.forge(t, "node-"+"ABCDEF00-1111-4111-8111-111111111111", nil)}, pki.ErrBadIdentity},
		{"user without name", []tls.Certificate{w.forge(t, "user-", nil)}, pki.ErrBadIdentity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handshake(t, pki.ServerTLS(control, pki.ServerOptions{Kinds: []pki.Kind{pki.KindNode}}), naive(tt.certs...))
			if got.server == nil || got.client == nil {
				t.Fatalf("let in as %s (server %v, client %v)", got.seen, got.server, got.client)
			}
			if tt.want != nil && !errors.Is(got.server, tt.want) {
				t.Errorf("refused with %v; want %v", got.server, tt.want)
			}
		})
	}
}

func TestClientRefuses(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	client := w.node(t, node1)
	client.SetRevoked(func(serial string) bool { return serial == "bad" })
	clientOnly := func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }
	peer := "node-" + string(node2)
	for _, tt := range []struct {
		name   string
		server tls.Certificate
		expect pki.Expect
		want   error
	}{
		{"nothing", w.forge(t, peer, nil), pki.ExpectNode(node2), nil},
		{"nothing of control", w.forge(t, "control-service", nil), pki.ExpectControl(), nil},
		{"foreign authority", foreign.forge(t, peer, nil), pki.ExpectNode(node2), pki.ErrForeign},
		{"expired", w.forge(t, peer, expired), pki.ExpectNode(node2), pki.ErrExpired},
		{"not yet valid", w.forge(t, peer, early), pki.ExpectNode(node2), pki.ErrExpired},
		{"another cluster's UUID", w.forge(t, peer, otherUnit), pki.ExpectNode(node2), pki.ErrWrongCluster},
		{"another node", w.forge(t, "node-"+string(node1), nil), pki.ExpectNode(node2), pki.ErrWrongPeer},
		{"a node that claims to be control", w.forge(t, peer, func(c *x509.Certificate) {
			c.DNSNames = []string{"control-service"}
		}), pki.ExpectControl(), pki.ErrWrongPeer},
		{"control where a node is expected", w.forge(t, "control-service", nil), pki.ExpectNode(node2), pki.ErrWrongPeer},
		{"a user's certificate", w.forge(t, "user-alice", clientOnly), pki.ExpectControl(), pki.ErrWrongPeer},
		{"a certificate for clients only", w.forge(t, peer, clientOnly), pki.ExpectNode(node2), pki.ErrWrongPeer},
		{"revoked", w.forge(t, peer, func(c *x509.Certificate) { c.SerialNumber.SetUint64(0xbad) }), pki.ExpectNode(node2), pki.ErrRevoked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handshake(t, &tls.Config{Certificates: []tls.Certificate{tt.server}, MinVersion: tls.VersionTLS13}, pki.ClientTLS(client, tt.expect))
			if !errors.Is(got.client, tt.want) {
				t.Errorf("client: %v; want %v", got.client, tt.want)
			}
		})
	}
}

// A server that does not verify certificates must not lend them an identity.
func TestIdentityNeedsAVerifiedChain(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	careless := &tls.Config{Certificates: []tls.Certificate{w.forge(t, "control-service", nil)}, ClientAuth: tls.RequireAnyClientCert}
	got := handshake(t, careless, naive(foreign.forge(t, "control-service", nil)))
	if !errors.Is(got.server, pki.ErrForeign) {
		t.Errorf("IdentityOf = %v, %v; want %v", got.seen, got.server, pki.ErrForeign)
	}
}

func TestAnonymousClientsHaveNoIdentity(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	server := pki.ServerTLS(w.control(t), pki.ServerOptions{Anonymous: true})
	if got := handshake(t, server, pki.PinnedTLS(w.Pin())); got.client != nil || !errors.Is(got.server, pki.ErrNoCertificate) {
		t.Errorf("client %v, identity %v; want a connection without identity", got.client, got.server)
	}
	if got := handshake(t, server, pki.ClientTLS(w.user(t, "alice", pki.RoleRead), pki.ExpectControl())); got.server != nil || got.seen.User != "alice" {
		t.Errorf("a user on an anonymous port is seen as %s, %v; want user-alice", got.seen, got.server)
	}
	if got := handshake(t, server, naive(foreign.forge(t, "user-eve", nil))); !errors.Is(got.server, pki.ErrForeign) {
		t.Errorf("a foreign certificate on an anonymous port: %v; want %v", got.server, pki.ErrForeign)
	}
}

func TestPinnedClientRefusesOtherClusters(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	ca := foreign.ca.Certificate[0]
	node := foreign.forge(t, "node-"+string(node1), nil)
	ours := foreign.forge(t, "control-service", nil)
	ours.Certificate = append(ours.Certificate, w.ca.Certificate[0]) // shows the authority that it is not of
	for _, tt := range []struct {
		name   string
		server *tls.Config
		pin    string
		want   error
	}{
		{"another authority", pki.ServerTLS(foreign.control(t), pki.ServerOptions{Anonymous: true}), w.Pin(), pki.ErrForeign},
		{"right authority shown, other one signed", &tls.Config{Certificates: []tls.Certificate{ours}}, w.Pin(), pki.ErrForeign},
		{"a node plays control", &tls.Config{Certificates: []tls.Certificate{{
			Certificate: append(node.Certificate, ca), PrivateKey: node.PrivateKey,
		}}}, foreign.Pin(), pki.ErrWrongPeer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := handshake(t, tt.server, pki.PinnedTLS(tt.pin)); !errors.Is(got.client, tt.want) {
				t.Errorf("client: %v; want %v", got.client, tt.want)
			}
		})
	}
}
