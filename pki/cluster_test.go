// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/flocker-project/flocker/cluster"
	"github.com/flocker-project/flocker/pki"
)

const (
	node1 = cluster.NodeID("11111111-1111-4111-8111-111111111111")
	node2 = cluster.NodeID("22222222-2222-4222-8222-222222222222")
)

// world is an authority, and its key for signing what the authority itself never would.
type world struct {
	*pki.Authority
	dir string
	ca  tls.Certificate
}

func newWorld(t *testing.T) world {
	t.Helper()
	authority, err := pki.CreateAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	w := world{Authority: authority, dir: t.TempDir()}
	if err := authority.Write(w.dir); err != nil {
		t.Fatal(err)
	}
	w.ca, err = tls.LoadX509KeyPair(filepath.Join(w.dir, "cluster.crt"), filepath.Join(w.dir, "cluster.key"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) credentials(t *testing.T, issued pki.Issued, err error) *pki.Credentials {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.NewCredentials(w.CertificatePEM(), issued)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w world) control(t *testing.T) *pki.Credentials {
	t.Helper()
	issued, err := w.IssueControl([]string{"127.0.0.1", "control.example.com"})
	return w.credentials(t, issued, err)
}

func (w world) node(t *testing.T, id cluster.NodeID) *pki.Credentials {
	t.Helper()
	issued, err := w.IssueNode(id)
	return w.credentials(t, issued, err)
}

func (w world) user(t *testing.T, name string, role pki.Role) *pki.Credentials {
	t.Helper()
	issued, err := w.IssueUser(name, role)
	return w.credentials(t, issued, err)
}

// forge signs anything: a certificate with that common name, changed by change.
func (w world) forge(t *testing.T, name string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7),
		Subject:      pkix.Name{CommonName: name, OrganizationalUnit: []string{w.Cluster()}},
		NotBefore:    time.Now().Add(-2 * time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, w.ca.Leaf, key.Public(), w.ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

func early(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }

func otherUnit(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"another cluster"} }

func noUnit(c *x509.Certificate) { c.Subject.OrganizationalUnit = nil }

func decode(t *testing.T, certPEM []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(certPEM)
	if block == nil {
		t.Fatalf("no certificate: %q", certPEM)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
