// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/cluster"
)

// Kind is what a certificate's holder is.
type Kind string

// The kinds.
const (
	KindControl Kind = "control" // the control service
	KindNode    Kind = "node"    // the agent of one node
	KindUser    Kind = "user"    // a person or a program that uses the API
	KindPlugin  Kind = "plugin"  // the Docker plug-in
)

// Common names, as in the original's certificates.
const (
	controlName = "control-service"
	nodePrefix  = "node-"
	userPrefix  = "user-"
	pluginUser  = "plugin"
)

// Reasons for which a certificate is refused.
var (
	ErrNoCertificate = errors.New("no certificate was presented")
	ErrExpired       = errors.New("certificate is expired or not yet valid")
	ErrForeign       = errors.New("certificate is not of this cluster's authority")
	ErrWrongCluster  = errors.New("certificate is of another cluster")
	ErrRevoked       = errors.New("certificate is revoked")
	ErrWrongPeer     = errors.New("certificate is of someone else")
	ErrBadIdentity   = errors.New("certificate names no identity of Flocker")
)

// Identity is who the holder of a verified certificate is.
type Identity struct {
	Kind    Kind
	Node    cluster.NodeID // of a KindNode
	User    string         // of a KindUser or KindPlugin
	Role    Role           // of a KindUser
	Cluster string         // the cluster's UUID
	Serial  string         // the certificate's serial number, hexadecimal
}

// String is the certificate's common name.
func (i Identity) String() string {
	switch i.Kind {
	case KindControl:
		return controlName
	case KindNode:
		return nodePrefix + string(i.Node)
	case KindUser, KindPlugin:
		return userPrefix + i.User
	}
	return "nobody"
}

// IdentityOf is the identity of the client at the other end of a connection that a server with ServerTLS accepted.
// It trusts only a chain that the TLS handshake verified; without a certificate it is ErrNoCertificate.
func IdentityOf(cs tls.ConnectionState) (Identity, error) {
	if len(cs.PeerCertificates) == 0 {
		return Identity{}, ErrNoCertificate
	}
	if len(cs.VerifiedChains) == 0 {
		return Identity{}, fmt.Errorf("%s: %w: the connection did not verify it", cs.PeerCertificates[0].Subject.CommonName, ErrForeign)
	}
	chain := cs.VerifiedChains[0]
	return identify(chain[0], chain[len(chain)-1])
}

// identify reads a certificate whose signature by the authority is verified.
func identify(leaf, authority *x509.Certificate) (Identity, error) {
	id := Identity{Cluster: clusterOf(authority), Serial: SerialOf(leaf)}
	if clusterOf(leaf) != id.Cluster {
		return Identity{}, fmt.Errorf("%s: %w: %q, not %q", leaf.Subject.CommonName, ErrWrongCluster, clusterOf(leaf), id.Cluster)
	}
	if err := id.readName(leaf.Subject.CommonName); err != nil {
		return Identity{}, err
	}
	if id.Kind != KindUser {
		return id, nil
	}
	role, err := roleOf(leaf)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", leaf.Subject.CommonName, err)
	}
	id.Role = role
	return id, nil
}

func (i *Identity) readName(name string) error {
	if name == controlName {
		i.Kind = KindControl
		return nil
	}
	if node, ok := strings.CutPrefix(name, nodePrefix); ok {
		i.Kind, i.Node = KindNode, cluster.NodeID(node)
		return checkNode(i.Node)
	}
	user, ok := strings.CutPrefix(name, userPrefix)
	if !ok || user == "" {
		return fmt.Errorf("%q: %w", name, ErrBadIdentity)
	}
	i.Kind, i.User = KindUser, user
	if user == pluginUser {
		i.Kind = KindPlugin
	}
	return nil
}

// checkNode accepts one spelling only, so that two names are never one node.
func checkNode(id cluster.NodeID) error {
	parsed, err := uuid.Parse(string(id))
	if err != nil || parsed.String() != string(id) {
		return fmt.Errorf("node %q: %w: not a UUID in its usual form", id, ErrBadIdentity)
	}
	return nil
}

// SerialOf is how a certificate is named when it is revoked.
func SerialOf(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

// clusterOf is the cluster's UUID; empty is never a cluster (loadAuthority refuses it).
func clusterOf(cert *x509.Certificate) string {
	if units := cert.Subject.OrganizationalUnit; len(units) == 1 {
		return units[0]
	}
	return ""
}
