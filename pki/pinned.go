// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// PinnedTLS is the configuration of a client that joins: it has no certificate yet and knows the authority by the token's hash only.
// The other end must be the control service of that authority.
func PinnedTLS(pin string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         controlName,
		InsecureSkipVerify: true, // VerifyConnection checks against the pinned authority
		VerifyConnection: func(cs tls.ConnectionState) error {
			authority, err := pinnedAuthority(cs.PeerCertificates, pin)
			if err != nil {
				return err
			}
			id, err := verify(cs.PeerCertificates[0], authority, x509.ExtKeyUsageServerAuth)
			if err == nil && id.Kind != KindControl {
				err = fmt.Errorf("%s: %w: the control service is expected there", id, ErrWrongPeer)
			}
			return err
		},
	}
}

func pinnedAuthority(chain []*x509.Certificate, pin string) (*x509.Certificate, error) {
	for _, cert := range chain {
		if subtle.ConstantTimeCompare([]byte(pinOf(cert)), []byte(pin)) == 1 {
			return parseAuthority(encodeCert(cert.Raw))
		}
	}
	return nil, fmt.Errorf("%w: the token is of another cluster, or someone is in between", ErrForeign)
}
