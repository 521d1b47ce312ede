// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// RequestNode makes node.key in dir, or takes the one that an earlier try left there, and a request to have it signed.
// The name in it is only a hint for people.
func RequestNode(dir, name string) (csrPEM []byte, err error) {
	path := FilesIn(dir, NodeName).Key
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(dir, path)
	}
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("sign the request of %q: %w", name, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der}), nil
}

func createKey(dir, path string) (crypto.Signer, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("write a private key: %w", err)
	}
	if err := writeNew(path, text); err != nil {
		return nil, fmt.Errorf("write a private key: %w", err)
	}
	return key, nil
}

func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a private key: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// CheckJoined checks an answer to a request: it is for the key in keyFile, by the pinned authority, and for the node that it names.
func CheckJoined(j Joined, keyFile, pin string) error {
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return fmt.Errorf("read a private key: %w", err)
	}
	c, err := NewCredentials(j.CAPEM, Issued{CertPEM: j.CertPEM, KeyPEM: keyPEM})
	if err != nil {
		return err
	}
	if c.Pin() != pin {
		return fmt.Errorf("%w: its authority is not the token's", ErrForeign)
	}
	if id := c.Identity(); id.Kind != KindNode || id.Node != j.Node {
		return fmt.Errorf("%w: it is for %s, not for node %s", ErrWrongPeer, id, j.Node)
	}
	return nil
}

// PinOfFile is the pin of the authority whose certificate is in the file.
func PinOfFile(path string) (string, error) {
	cert, err := readAuthority(path)
	if err != nil {
		return "", fmt.Errorf("authority: %w", err)
	}
	return pinOf(cert), nil
}
