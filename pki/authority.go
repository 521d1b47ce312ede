// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flocker-project/flocker/cluster"
)

// DefaultLifetime is how long certificates are valid: 20 years, as the original's.
const DefaultLifetime = 20 * 365 * 24 * time.Hour

// clockSkew is how far a host's clock may be behind the one that signed.
const clockSkew = time.Hour

const maxNameLength = 64 // of a common name, in X.520

// ErrNoAuthorityKey says that the authority's key is kept elsewhere, so that nothing can be signed here.
var ErrNoAuthorityKey = errors.New("the authority's key is not here")

// Authority signs a cluster's certificates.
type Authority struct {
	// Lifetime bounds the certificates to come; 0 is as long as the authority's own, and none outlives that.
	Lifetime time.Duration

	cert *x509.Certificate
	key  crypto.Signer
}

// CreateAuthority makes the authority of a new cluster, in memory; Write keeps it.
func CreateAuthority(name string) (*Authority, error) {
	if err := checkCommonName(name); err != nil {
		return nil, fmt.Errorf("cluster name %q: %w", name, err)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, OrganizationalUnit: []string{uuid.NewString()}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(DefaultLifetime),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority of cluster %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the authority of cluster %q: %w", name, err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// LoadAuthority reads cluster.crt and cluster.key; without the key it is ErrNoAuthorityKey.
func LoadAuthority(dir string) (*Authority, error) {
	cert, err := readAuthority(filepath.Join(dir, AuthorityName+certSuffix))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, AuthorityName+keySuffix)
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoAuthorityKey, err)
	}
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if !samePublicKey(key.Public(), cert.PublicKey) {
		return nil, fmt.Errorf("%s: %w: it is not the key of %s", path, cluster.ErrInvalid, AuthorityName+certSuffix)
	}
	return &Authority{cert: cert, key: key}, nil
}

// Name is the cluster's name.
func (a *Authority) Name() string { return a.cert.Subject.CommonName }

// Cluster is the cluster's UUID.
func (a *Authority) Cluster() string { return clusterOf(a.cert) }

// CertificatePEM is what everybody may know of the authority.
func (a *Authority) CertificatePEM() []byte { return encodeCert(a.cert.Raw) }

// Pin is a hash that stands for the authority in a join token.
func (a *Authority) Pin() string { return pinOf(a.cert) }

// Write keeps the authority in dir, which it makes if need be. It never overwrites.
func (a *Authority) Write(dir string) error {
	key, err := encodeKey(a.key)
	if err != nil {
		return err
	}
	return Issued{CertPEM: a.CertificatePEM(), KeyPEM: key}.Write(dir, AuthorityName)
}

func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// newSerial is random, of 127 bits: positive, and never met twice.
func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

func checkCommonName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: empty", cluster.ErrInvalid)
	case len(name) > maxNameLength:
		return fmt.Errorf("%w: longer than %d bytes", cluster.ErrInvalid, maxNameLength)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return fmt.Errorf("%w: characters that cannot be shown", cluster.ErrInvalid)
	}
	return nil
}

// pinOf is 128 bits of a hash: enough against a second certificate that has the same.
func pinOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return tokenEncoding().EncodeToString(sum[:16])
}
