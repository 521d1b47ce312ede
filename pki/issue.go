// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/flocker-project/flocker/cluster"
)

// Issued is a new certificate with its key.
type Issued struct {
	CertPEM []byte
	KeyPEM  []byte
}

// IssueControl makes the control service's certificate; hosts are the names and addresses that clients other than Flocker's check.
func (a *Authority) IssueControl(hosts []string) (Issued, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: controlName},
		DNSNames:    []string{controlName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		switch ip := net.ParseIP(host); {
		case ip != nil:
			template.IPAddresses = append(template.IPAddresses, ip)
		case host == "" || strings.ContainsAny(host, " /:\\@") || len(host) > 253:
			return Issued{}, fmt.Errorf("control host %q: %w: neither an address nor a host name", host, cluster.ErrInvalid)
		case host != controlName:
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.issue(template)
}

// IssueNode makes a node's certificate with its key; a node that joins makes its own key and asks SignNode.
func (a *Authority) IssueNode(id cluster.NodeID) (Issued, error) {
	template, err := nodeTemplate(id)
	if err != nil {
		return Issued{}, err
	}
	return a.issue(template)
}

// SignNode signs a node's request. Only its key is taken: who the node is, is said here.
func (a *Authority) SignNode(csrPEM []byte, id cluster.NodeID) (certPEM []byte, err error) {
	template, err := nodeTemplate(id)
	if err != nil {
		return nil, err
	}
	request, err := parseRequest(csrPEM)
	if err != nil {
		return nil, err
	}
	return a.sign(template, request.PublicKey)
}

// IssueUser makes a user's certificate; the user "plugin" is the Docker plug-in and has no role.
func (a *Authority) IssueUser(name string, role Role) (Issued, error) {
	if err := checkCommonName(userPrefix + name); err != nil {
		return Issued{}, fmt.Errorf("user %q: %w", name, err)
	}
	if name == "" || strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") {
		return Issued{}, fmt.Errorf("user %q: %w: it names a file, so it is not empty, has no slash and no dot in front", name, cluster.ErrInvalid)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: userPrefix + name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if name != pluginUser {
		if _, err := ParseRole(string(role)); err != nil {
			return Issued{}, fmt.Errorf("user %q: %w", name, err)
		}
		ext, err := roleExtension(role)
		if err != nil {
			return Issued{}, err
		}
		template.ExtraExtensions = []pkix.Extension{ext}
	}
	return a.issue(template)
}

func nodeTemplate(id cluster.NodeID) (*x509.Certificate, error) {
	if err := checkNode(id); err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	name := nodePrefix + string(id)
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, nil
}

func (a *Authority) issue(template *x509.Certificate) (Issued, error) {
	key, err := newKey()
	if err != nil {
		return Issued{}, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Issued{}, err
	}
	certPEM, err := a.sign(template, key.Public())
	return Issued{CertPEM: certPEM, KeyPEM: keyPEM}, err
}

func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	name := template.Subject.CommonName
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber = serial
	template.Subject.OrganizationalUnit = []string{a.Cluster()}
	template.BasicConstraintsValid = true // and no authority
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.NotBefore = now.Add(-clockSkew)
	template.NotAfter = a.cert.NotAfter
	if end := now.Add(a.Lifetime); a.Lifetime > 0 && end.Before(template.NotAfter) {
		template.NotAfter = end
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	return encodeCert(der), nil
}
