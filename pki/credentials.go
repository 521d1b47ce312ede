// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/flocker-project/flocker/cluster"
)

// Files are the three files by which someone proves who he is.
type Files struct {
	CA   string // cluster.crt
	Cert string
	Key  string
}

// FilesIn are the files of that name beside cluster.crt.
func FilesIn(dir, name string) Files {
	return Files{
		CA:   filepath.Join(dir, AuthorityName+certSuffix),
		Cert: filepath.Join(dir, name+certSuffix),
		Key:  filepath.Join(dir, name+keySuffix),
	}
}

// Credentials are an identity that can prove itself. Those from files follow the files when they change.
type Credentials struct {
	// Report, when set before use, hears of each change of the files: nil, or why the former ones stay in use.
	Report func(error)

	files   Files
	revoked atomic.Pointer[func(serial string) bool]
	mu      sync.Mutex
	now     *proof
	stamp   string
}

// proof is one version of the credentials.
type proof struct {
	authority *x509.Certificate
	roots     *x509.CertPool
	cert      tls.Certificate
	identity  Identity
}

// LoadCredentials reads cluster.crt, NAME.crt and NAME.key.
func LoadCredentials(dir, name string) (*Credentials, error) { return LoadFiles(FilesIn(dir, name)) }

// LoadFiles reads the three files.
func LoadFiles(files Files) (*Credentials, error) {
	stamp, err := files.stamp()
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	now, err := files.load()
	if err != nil {
		return nil, err
	}
	return &Credentials{files: files, now: now, stamp: stamp}, nil
}

// NewCredentials are credentials from memory.
func NewCredentials(caPEM []byte, issued Issued) (*Credentials, error) {
	now, err := newProof(caPEM, issued)
	if err != nil {
		return nil, err
	}
	return &Credentials{now: now}, nil
}

// Identity is who the credentials prove to be.
func (c *Credentials) Identity() Identity { return c.current().identity }

// CAPEM is the authority's certificate.
func (c *Credentials) CAPEM() []byte { return encodeCert(c.current().authority.Raw) }

// Pin is the hash of the authority that join tokens carry.
func (c *Credentials) Pin() string { return pinOf(c.current().authority) }

// SetRevoked replaces the judge of revoked serial numbers, which every handshake asks from now on.
func (c *Credentials) SetRevoked(revoked func(serial string) bool) { c.revoked.Store(&revoked) }

func (c *Credentials) isRevoked(serial string) bool {
	revoked := c.revoked.Load()
	return revoked != nil && (*revoked)(serial)
}

func (c *Credentials) current() *proof {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == (Files{}) {
		return c.now
	}
	stamp, err := c.files.stamp()
	if stamp == c.stamp {
		return c.now
	}
	c.stamp = stamp
	var next *proof
	if err == nil {
		next, err = c.files.load()
	}
	if err == nil {
		c.now = next
	}
	if c.Report != nil {
		c.Report(err)
	}
	return c.now
}

// stamp changes whenever a file is replaced or written; with an error it is that error's text.
func (f Files) stamp() (string, error) {
	var b strings.Builder
	for _, path := range []string{f.CA, f.Cert, f.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return err.Error(), err
		}
		fmt.Fprintf(&b, "%d %d;", info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

func (f Files) load() (*proof, error) {
	caPEM, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	certPEM, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("read a private key: %w", err)
	}
	p, err := newProof(caPEM, Issued{CertPEM: certPEM, KeyPEM: keyPEM})
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", f.Cert, f.CA, err)
	}
	return p, nil
}

func newProof(caPEM []byte, issued Issued) (*proof, error) {
	authority, err := parseAuthority(caPEM)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	pair, err := tls.X509KeyPair(issued.CertPEM, issued.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate and key: %w", cluster.ErrInvalid, err)
	}
	p := &proof{authority: authority, roots: x509.NewCertPool(), cert: pair}
	p.roots.AddCert(authority)
	// An expired certificate still says who it was; the other end refuses it, and a new file mends it without a restart.
	if err := pair.Leaf.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", pair.Leaf.Subject.CommonName, ErrForeign, err)
	}
	p.identity, err = identify(pair.Leaf, authority)
	return p, err
}
