// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// ServerOptions say whom a server lets in.
type ServerOptions struct {
	Kinds []Kind // who may connect; empty is everybody of the cluster
	// Anonymous also lets in who shows no certificate, for a node that is about to join; IdentityOf then gives ErrNoCertificate.
	Anonymous  bool
	NextProtos []string // ALPN; empty is HTTP/2 and HTTP/1.1
}

// Expect says who must be at the other end.
type Expect struct {
	kind Kind
	node cluster.NodeID
}

// ExpectControl is the control service.
func ExpectControl() Expect { return Expect{kind: KindControl} }

// ExpectNode is that node's agent.
func ExpectNode(id cluster.NodeID) Expect { return Expect{kind: KindNode, node: id} }

func (e Expect) String() string { return Identity{Kind: e.kind, Node: e.node}.String() }

// ServerTLS is a server's configuration. It follows the credentials' files and their judge of revoked certificates.
func ServerTLS(c *Credentials, o ServerOptions) *tls.Config {
	if len(o.NextProtos) == 0 {
		o.NextProtos = []string{"h2", "http/1.1"}
	}
	base := serverConfig(c, o)
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return serverConfig(c, o), nil }
	return base
}

func serverConfig(c *Credentials, o ServerOptions) *tls.Config {
	now := c.current()
	cert, auth := now.cert, tls.RequireAndVerifyClientCert
	if o.Anonymous {
		auth = tls.VerifyClientCertIfGiven
		// Whoever joins knows the authority by its hash only, so the server shows it.
		cert.Certificate = append(slices.Clone(cert.Certificate), now.authority.Raw)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS12, // the original's clients; ours ask for 1.3
		Certificates:           []tls.Certificate{cert},
		ClientAuth:             auth,
		ClientCAs:              now.roots,
		NextProtos:             o.NextProtos,
		SessionTicketsDisabled: true, // each connection is judged by the files and revocations of now
		VerifyConnection: func(cs tls.ConnectionState) error {
			if o.Anonymous && len(cs.PeerCertificates) == 0 {
				return nil
			}
			id, err := IdentityOf(cs)
			if err != nil {
				return err
			}
			return c.admit(id, o.Kinds)
		},
	}
}

func (c *Credentials) admit(id Identity, kinds []Kind) error {
	if c.isRevoked(id.Serial) {
		return fmt.Errorf("%s: %w: serial %s", id, ErrRevoked, id.Serial)
	}
	if len(kinds) > 0 && !slices.Contains(kinds, id.Kind) {
		return fmt.Errorf("%s: %w: this port is for %v", id, ErrWrongPeer, kinds)
	}
	return nil
}

// ClientTLS is the configuration of a client that talks to exactly the expected one, wherever that is.
func ClientTLS(c *Credentials, e Expect) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: e.String(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert := c.current().cert
			return &cert, nil
		},
		// The original's certificates hold no name that the standard check could use; VerifyConnection checks
		// all the rest as the standard one does, and who it is.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return c.verifyServer(cs, e)
		},
	}
}

func (c *Credentials) verifyServer(cs tls.ConnectionState, e Expect) error {
	if len(cs.PeerCertificates) == 0 {
		return fmt.Errorf("%s: %w", e, ErrNoCertificate)
	}
	now, leaf := c.current(), cs.PeerCertificates[0]
	id, err := verify(leaf, now.authority, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	if c.isRevoked(id.Serial) {
		return fmt.Errorf("%s: %w: serial %s", id, ErrRevoked, id.Serial)
	}
	if id.Kind != e.kind || id.Node != e.node {
		return fmt.Errorf("%s: %w: %s is expected there", id, ErrWrongPeer, e)
	}
	return nil
}

// verify checks a certificate that the authority must have signed itself, and reads who it is.
func verify(leaf, authority *x509.Certificate, usage x509.ExtKeyUsage) (Identity, error) {
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return Identity{}, refusal(leaf, err)
	}
	return identify(leaf, authority)
}

// refusal gives a failed verification its reason.
func refusal(leaf *x509.Certificate, err error) error {
	who, reason := fmt.Sprintf("%s (serial %s)", leaf.Subject.CommonName, SerialOf(leaf)), ErrForeign
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch invalid.Reason {
		case x509.Expired: // without the present time, which would make each refusal another one
			return fmt.Errorf("%s: %w: it is valid from %s to %s", who, ErrExpired,
				leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
		case x509.IncompatibleUsage:
			reason = ErrWrongPeer
		default: // not signed as it must be
		}
	}
	return fmt.Errorf("%s: %w: %w", who, reason, err)
}

// Explain gives a failed handshake its reason: who was refused, and one of this package's errors. Others it returns as they are.
func Explain(err error) error {
	failed, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(failed.UnverifiedCertificates) == 0 {
		return err
	}
	return refusal(failed.UnverifiedCertificates[0], failed.Err)
}
