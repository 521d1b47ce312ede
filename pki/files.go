// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flocker-project/flocker/cluster"
)

// Names of the files, without .crt and .key, as the original's.
const (
	AuthorityName = "cluster"
	ControlName   = "control-service"
	NodeName      = "node"
	UserName      = "user"
	PluginName    = "plugin"
)

const (
	certSuffix = ".crt"
	keySuffix  = ".key"
	pemCert    = "CERTIFICATE"
	pemRequest = "CERTIFICATE REQUEST"
	pemKey     = "PRIVATE KEY"
)

// minRSABits refuses keys that are no longer safe; the original's have 4096.
const minRSABits = 2048

// Write keeps the certificate and its key as NAME.crt and NAME.key in dir, which it makes if need be. It never overwrites.
func (i Issued) Write(dir, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", name+certSuffix, err)
	}
	cert := filepath.Join(dir, name+certSuffix)
	if err := writeNew(cert, i.CertPEM); err != nil {
		return fmt.Errorf("write a certificate: %w", err)
	}
	if err := writeNew(filepath.Join(dir, name+keySuffix), i.KeyPEM); err != nil {
		return errors.Join(fmt.Errorf("write a private key: %w", err), os.Remove(cert)) // the one just made here
	}
	return nil
}

func writeNew(path string, text []byte) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

func readAuthority(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	cert, err := parseAuthority(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// parseAuthority also takes the original's, which is X.509 version 1 and so says nowhere that it is an authority.
func parseAuthority(text []byte) (*x509.Certificate, error) {
	cert, err := parseCert(text)
	if err != nil {
		return nil, err
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("%w: not a cluster's authority: %w", cluster.ErrInvalid, err)
	}
	if clusterOf(cert) == "" {
		return nil, fmt.Errorf("%w: not a cluster's authority: no cluster UUID as its organizational unit", cluster.ErrInvalid)
	}
	return cert, nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	der, err := onlyBlock(text, pemCert)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cluster.ErrInvalid, err)
	}
	return cert, nil
}

func parseRequest(text []byte) (*x509.CertificateRequest, error) {
	der, err := onlyBlock(text, pemRequest)
	if err != nil {
		return nil, fmt.Errorf("signing request: %w", err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("signing request: %w: %w", cluster.ErrInvalid, err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("signing request: %w: %w", cluster.ErrInvalid, err)
	}
	return request, checkStrength(request.PublicKey)
}

func checkStrength(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P224() {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if key.N.BitLen() >= minRSABits {
			return nil
		}
	}
	return fmt.Errorf("signing request: %w: its key is too weak or of an unknown kind", cluster.ErrInvalid)
}

func onlyBlock(text []byte, kind string) ([]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%w: holds no PEM %s", cluster.ErrInvalid, kind)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("%w: holds more than one PEM %s", cluster.ErrInvalid, kind)
	}
	return block.Bytes, nil
}

// parseKey reads PKCS#8 and the two older forms, all of which OpenSSL wrote for the original over the years.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: holds no PEM private key", cluster.ErrInvalid)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: private key: %w", cluster.ErrInvalid, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a key that cannot sign", cluster.ErrInvalid)
	}
	return signer, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: der})
}
